// A simulated accelerator: a device of PyTorch's PrivateUse1 backend, in the memory of the host.
//
// Kernels run on the CPU, but arguments are checked as CUDA checks them: tensors and generators must
// be on the device. Kernels, copies and reads of single values are counted. Double precision can be
// forbidden, as it is on Apple's MPS.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_nnz_native.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/ccol_indices_native.h>
#include <ATen/ops/col_indices_native.h>
#include <ATen/ops/crow_indices_native.h>
#include <ATen/ops/row_indices_native.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <ATen/ops/values_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using at::Tensor;

const at::Device kDevice(at::kPrivateUse1, 0);

// Counters

std::mutex counter_mutex;
std::map<std::string, int64_t> kernel_counts;
std::atomic<int64_t> copies_to_device{0};
std::atomic<int64_t> copies_to_host{0};
std::atomic<int64_t> reads_of_values{0};
std::atomic<bool> double_is_forbidden{false};
// Whether this thread computes a kernel on the CPU, whose copies do not count.
thread_local bool in_kernel = false;

struct InKernel {
  InKernel() : before(in_kernel) { in_kernel = true; }
  ~InKernel() { in_kernel = before; }
  bool before;
};

void count_kernel(const std::string& name) {
  std::lock_guard<std::mutex> guard(counter_mutex);
  ++kernel_counts[name];
}

void check_dtype(at::ScalarType dtype) {
  TORCH_CHECK_TYPE(
      !double_is_forbidden || dtype != at::kDouble,
      "The simulated accelerator does not support float64.");
}

// Memory and the device itself

struct HostAllocator final : at::Allocator {
  at::DataPtr allocate(size_t n_bytes) override {
    void* data = n_bytes ? c10::alloc_cpu(n_bytes) : nullptr;
    return {data, data, &c10::free_cpu, kDevice};
  }
  at::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* target, const void* source, size_t n_bytes) const override {
    default_copy_data(target, source, n_bytes);
  }
} allocator;
REGISTER_ALLOCATOR(at::kPrivateUse1, &allocator);

struct DeviceGuard final : c10::impl::DeviceGuardImplInterface {
  static constexpr at::DeviceType static_type = at::kPrivateUse1;
  explicit DeviceGuard(at::DeviceType) {}
  DeviceGuard() = default;
  at::DeviceType type() const override { return static_type; }
  at::Device exchangeDevice(at::Device) const override { return kDevice; }
  at::Device getDevice() const override { return kDevice; }
  void setDevice(at::Device device) const override {
    TORCH_CHECK(device.index() <= 0, "invalid device ordinal ", device.index());
  }
  void uncheckedSetDevice(at::Device) const noexcept override {}
  c10::Stream getStream(at::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kDevice);
  }
  c10::Stream getDefaultStream(at::Device device) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  at::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const at::DeviceIndex, const c10::EventFlag)
      const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const at::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, DeviceGuard);

// Random numbers

// A generator of the device, whose state is that of a generator on the CPU.
struct DeviceGenerator final : c10::GeneratorImpl {
  explicit DeviceGenerator(at::Generator on_host)
      : c10::GeneratorImpl(kDevice, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        host(std::move(on_host)) {}
  void set_current_seed(uint64_t seed) override { host.set_current_seed(seed); }
  void set_offset(uint64_t offset) override { host.set_offset(offset); }
  uint64_t get_offset() const override { return host.get_offset(); }
  uint64_t current_seed() const override { return host.current_seed(); }
  uint64_t seed() override { return const_cast<at::Generator&>(host).seed(); }
  void set_state(const c10::TensorImpl& state) override {
    host.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return host.unsafeGetGeneratorImpl()->get_state();
  }
  DeviceGenerator* clone_impl() const override { return new DeviceGenerator(host.clone()); }
  at::Generator host;
};

at::Generator new_generator() {
  return at::make_generator<DeviceGenerator>(at::detail::createCPUGenerator());
}

const at::Generator& default_generator() {
  static at::Generator generator = new_generator();
  return generator;
}

at::Generator on_host(const at::Generator& generator) {
  return static_cast<DeviceGenerator*>(generator.unsafeGetGeneratorImpl())->host;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
  at::DeviceIndex deviceCount() const override { return 1; }
  at::DeviceIndex getCurrentDevice() const override { return 0; }
  const at::Generator& getDefaultGenerator(at::DeviceIndex) const override {
    return default_generator();
  }
  at::Generator getNewGenerator(at::DeviceIndex) const override { return new_generator(); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t n_bytes) const override {
    auto data = allocator.allocate(n_bytes);
    if (storage.nbytes()) {
      memcpy(data.mutable_get(), storage.data(), std::min(storage.nbytes(), n_bytes));
    }
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(data));
    storage.unsafeGetStorageImpl()->set_nbytes(n_bytes);
  }
};

// Tensors of the device

// The same memory as a tensor on the CPU.
Tensor host_view(const Tensor& tensor) {
  return at::from_blob(
      tensor.data_ptr(), tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
}

void check_options(std::optional<at::ScalarType> dtype, std::optional<at::Device> device) {
  check_dtype(c10::dtype_or_default(dtype));
  TORCH_CHECK(!device || device->index() <= 0, "invalid device ordinal ", device->index());
}

Tensor empty(
    at::IntArrayRef size,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device> device,
    std::optional<bool> pinned,
    std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!c10::pinned_memory_or_default(pinned), "only memory of the CPU can be pinned");
  check_options(dtype, device);
  return at::detail::empty_generic(
      size,
      &allocator,
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype),
      format);
}

Tensor empty_strided(
    at::IntArrayRef size,
    at::IntArrayRef stride,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>,
    std::optional<at::Device> device,
    std::optional<bool>) {
  check_options(dtype, device);
  return at::detail::empty_strided_generic(
      size,
      stride,
      &allocator,
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype));
}

Tensor as_strided(
    const Tensor& self,
    c10::SymIntArrayRef size,
    c10::SymIntArrayRef stride,
    std::optional<c10::SymInt> offset) {
  return at::cpu::as_strided_symint(self, size, stride, offset);
}

Tensor view(const Tensor& self, c10::SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}

Tensor reshape_alias(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::native::_reshape_alias(
      self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}

const Tensor& resize_(
    const Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat> format) {
  return at::native::resize_(self, C10_AS_INTARRAYREF_SLOW(size), format);
}

Tensor& set_to_tensor(Tensor& self, const Tensor& source) {
  return at::native::set_tensor_(self, source);
}

Tensor& set_to_storage(Tensor& self, at::Storage source) { return at::native::set_(self, source); }

Tensor& set_to_part_of_storage(
    Tensor& self, at::Storage source, int64_t offset, at::IntArrayRef size, at::IntArrayRef stride) {
  return at::cpu::set_(self, source, offset, size, stride);
}

Tensor copy_from(const Tensor& source, const Tensor& target, bool non_blocking) {
  if (!in_kernel) {
    if (source.is_cpu() && !target.is_cpu()) {
      copies_to_device += !non_blocking;
    } else if (target.is_cpu() && !source.is_cpu()) {
      ++copies_to_host;
    } else {
      count_kernel("aten::copy_");
    }
  }
  Tensor writable = target.is_cpu() ? target : host_view(target);
  writable.copy_(source.is_cpu() ? source : host_view(source));
  return target;
}

Tensor copy_from_and_resize(const Tensor& source, const Tensor& target) {
  at::native::resize_(target, source.sizes(), std::nullopt);
  return copy_from(source, target, false);
}

at::Scalar local_scalar_dense(const Tensor& self) {
  ++reads_of_values;
  return host_view(self).item();
}

// Kernels: computed on the CPU, with arguments checked as CUDA checks them

std::string name_of(const c10::OperatorHandle& op) {
  const auto& name = op.schema().operator_name();
  return name.overload_name.empty() ? name.name : name.name + "." + name.overload_name;
}

// CUDA takes indices on the CPU for these.
const std::set<std::string> kTakeHostIndices{
    "aten::index.Tensor",
    "aten::index.Tensor_out",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::_unsafe_index.Tensor"};
// Kernels of CUDA that do not take a scalar tensor on the CPU either.
const std::set<std::string> kTakeNoHostScalars{
    "aten::addmm",
    "aten::cat",
    "aten::embedding_bag",
    "aten::gather",
    "aten::index_select",
    "aten::mm",
    "aten::scatter_.src",
    "aten::searchsorted.Tensor"};
// Kernels that write to arguments which their schemas do not mark as written to.
const std::map<std::string, std::vector<size_t>> kWritten{{"aten::native_batch_norm", {3, 4}}};

std::vector<Tensor> tensors_of(c10::ArrayRef<c10::IValue> arguments) {
  std::vector<Tensor> tensors;
  for (const auto& argument : arguments) {
    if (argument.isTensor()) {
      tensors.push_back(argument.toTensor());
    } else if (argument.isTensorList()) {
      for (const auto& tensor : argument.toTensorVector()) tensors.push_back(tensor);
    } else if (argument.isOptionalTensorList()) {
      for (const std::optional<Tensor>& tensor : argument.toOptionalTensorVector()) {
        if (tensor) tensors.push_back(*tensor);
      }
    }
  }
  return tensors;
}

void check_tensors(const std::vector<Tensor>& tensors, const std::string& name) {
  bool has_device_tensor = false, has_host_scalar = false;
  Tensor on_host;
  for (const auto& tensor : tensors) {
    if (!tensor.defined()) continue;
    if (tensor.device().type() == at::kPrivateUse1) {
      has_device_tensor = true;
      check_dtype(tensor.scalar_type());
    } else if (tensor.layout() != at::kStrided || tensor.dim() > 0) {
      on_host = tensor;
    } else if (!tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
      has_host_scalar = true;
    }
  }
  TORCH_CHECK(
      !has_device_tensor || !on_host.defined() || kTakeHostIndices.count(name),
      "Expected all tensors to be on the same device, but found at least two devices, ",
      kDevice, " and cpu, in ", name);
  TORCH_CHECK(
      !has_device_tensor || !has_host_scalar || !kTakeNoHostScalars.count(name),
      "Expected all tensors to be on the same device, but found a scalar on the cpu in ", name);
}

// Random kernels draw from the generator of the device that is given, or from its default one.
void use_host_generators(const c10::FunctionSchema& schema, torch::jit::Stack* stack) {
  const auto n_arguments = schema.arguments().size();
  for (size_t i = 0; i < n_arguments; ++i) {
    auto& argument = (*stack)[stack->size() - n_arguments + i];
    if (argument.isGenerator()) {
      TORCH_CHECK(
          argument.toGenerator().device().type() == at::kPrivateUse1,
          "Expected a '", kDevice, "' device type for generator but found '",
          argument.toGenerator().device(), "'");
      argument = on_host(argument.toGenerator());
    } else if (argument.isNone() && schema.arguments()[i].name() == "generator") {
      argument = on_host(default_generator());
    }
  }
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto name = name_of(op);
  const auto n_arguments = op.schema().arguments().size();
  count_kernel(name);
  check_tensors(tensors_of(torch::jit::last(*stack, n_arguments)), name);
  use_host_generators(op.schema(), stack);
  if (const auto written = kWritten.find(name); written != kWritten.end()) {
    for (const auto i : written->second) {
      auto& argument = (*stack)[stack->size() - n_arguments + i];
      if (argument.isTensor() && argument.toTensor().defined()) {
        argument = host_view(argument.toTensor());
      }
    }
  }
  InKernel guard;
  at::native::cpu_fallback(op, stack, false, c10::DispatchKey::CPU);
}

// Sparse tensors in a compressed layout

bool is_compressed(const Tensor& tensor) {
  return tensor.layout() == at::kSparseCsr || tensor.layout() == at::kSparseCsc;
}

Tensor moved(const Tensor& tensor, at::Device device) {
  if (!tensor.defined()) return tensor;
  if (!is_compressed(tensor)) return tensor.to(device);
  const bool by_row = tensor.layout() == at::kSparseCsr;
  const auto compressed = by_row ? tensor.crow_indices() : tensor.ccol_indices();
  const auto plain = by_row ? tensor.col_indices() : tensor.row_indices();
  return at::_sparse_compressed_tensor_unsafe(
      compressed.to(device),
      plain.to(device),
      tensor.values().to(device),
      tensor.sizes(),
      tensor.scalar_type(),
      tensor.layout(),
      device,
      std::nullopt);
}

void compute_compressed(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto name = name_of(op);
  const auto n_arguments = op.schema().arguments().size();
  count_kernel("compressed " + name);
  check_tensors(tensors_of(torch::jit::last(*stack, n_arguments)), name);
  InKernel guard;
  for (auto i = stack->size() - n_arguments; i < stack->size(); ++i) {
    auto& argument = (*stack)[i];
    if (argument.isTensor()) {
      argument = moved(argument.toTensor(), at::kCPU);
    } else if (argument.isDevice()) {
      argument = at::Device(at::kCPU);
    }
  }
  op.callBoxed(stack);
  for (auto i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    if ((*stack)[i].isTensor()) (*stack)[i] = moved((*stack)[i].toTensor(), kDevice);
  }
}

// Without these, PyTorch would call the `out` variants, with a result in the layout of the factors.

Tensor multiply_compressed(const Tensor& left, const Tensor& right) {
  count_kernel("compressed aten::mm");
  check_tensors({left, right}, "aten::mm");
  InKernel guard;
  return at::mm(moved(left, at::kCPU), moved(right, at::kCPU)).to(kDevice);
}

Tensor add_multiplied_compressed(
    const Tensor& added,
    const Tensor& left,
    const Tensor& right,
    const at::Scalar& beta,
    const at::Scalar& alpha) {
  count_kernel("compressed aten::addmm");
  check_tensors({added, left, right}, "aten::addmm");
  InKernel guard;
  const auto host = [](const Tensor& tensor) { return moved(tensor, at::kCPU); };
  return at::addmm(host(added), host(left), host(right), beta, alpha).to(kDevice);
}

// Operators for Python

void register_hooks() {
  static bool registered = false;
  if (!registered) at::RegisterPrivateUse1HooksInterface(new Hooks());
  registered = true;
}

void reset_counts() {
  std::lock_guard<std::mutex> guard(counter_mutex);
  kernel_counts.clear();
  copies_to_device = copies_to_host = reads_of_values = 0;
}

c10::Dict<std::string, int64_t> counted_kernels() {
  std::lock_guard<std::mutex> guard(counter_mutex);
  c10::Dict<std::string, int64_t> counts;
  for (const auto& [name, count] : kernel_counts) counts.insert(name, count);
  return counts;
}

std::vector<int64_t> counted_transfers() {
  return {copies_to_device, copies_to_host, reads_of_values};
}

void forbid_double(bool forbidden) { double_is_forbidden = forbidden; }

void seed_default_generator(int64_t seed) {
  auto generator = default_generator();
  generator.set_current_seed(seed);
}

Tensor state_of_default_generator() { return default_generator().get_state(); }

void set_state_of_default_generator(const Tensor& state) {
  auto generator = default_generator();
  generator.set_state(state);
}

TORCH_LIBRARY(simulated_accelerator, library) {
  library.def("register_hooks() -> ()", register_hooks);
  library.def("reset_counts() -> ()", reset_counts);
  library.def("counted_kernels() -> Dict(str, int)", counted_kernels);
  library.def("counted_transfers() -> int[]", counted_transfers);
  library.def("forbid_double(bool forbidden) -> ()", forbid_double);
  library.def("seed(int seed) -> ()", seed_default_generator);
  library.def("get_state() -> Tensor", state_of_default_generator);
  library.def("set_state(Tensor state) -> ()", set_state_of_default_generator);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("as_strided", as_strided);
  library.impl("view", view);
  library.impl("_reshape_alias", reshape_alias);
  library.impl("resize_", resize_);
  library.impl("set_.source_Tensor", set_to_tensor);
  library.impl("set_.source_Storage", set_to_storage);
  library.impl("set_.source_Storage_storage_offset", set_to_part_of_storage);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", local_scalar_dense);
}

TORCH_LIBRARY_IMPL(aten, SparseCsrPrivateUse1, library) {
  library.impl("crow_indices", at::native::crow_indices_sparse_csr);
  library.impl("col_indices", at::native::col_indices_sparse_csr);
  library.impl("ccol_indices", at::native::ccol_indices_sparse_csr);
  library.impl("row_indices", at::native::row_indices_sparse_csr);
  library.impl("values", at::native::values_sparse_csr);
  library.impl("_nnz", at::native::_nnz_sparse_csr);
  library.impl("mm", multiply_compressed);
  library.impl("addmm", add_multiplied_compressed);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY_IMPL(_, SparseCsrPrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute_compressed>());
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(_, AutogradPrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFallthrough());
}

}  // namespace
