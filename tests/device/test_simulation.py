"""The simulated accelerator raises the errors of CUDA and has its own random state."""

import pytest
import torch


def on(device, *shape):
    return torch.ones(*shape, device=device)


MIXED = {
    "sum": lambda device: on(device, 3) + torch.ones(3),
    "product": lambda device: on(device, 3, 3) @ torch.ones(3, 3),
    "where": lambda device: torch.where(on(device, 3) > 0, torch.ones(3), 0),
    "gather": lambda device: on(device, 3, 2).gather(1, torch.zeros(3, 1, dtype=torch.int64)),
    "compressed": lambda device: torch.eye(3).to_sparse_csr() @ on(device, 3, 3),
    "generator": lambda device: torch.rand(3, device=device, generator=torch.Generator()),
}


@pytest.mark.parametrize("mix", MIXED.values(), ids=MIXED.keys())
def test_operations_on_tensors_of_two_devices_raise(device, mix):
    with pytest.raises(RuntimeError, match=r"Expected .*device"):
        mix(device)


def test_a_scalar_on_the_cpu_can_be_combined_with_tensors_on_the_device(device):
    assert (on(device, 3) * torch.tensor(2.0)).cpu().tolist() == [2, 2, 2]


@pytest.mark.parametrize("make", [torch.ones, torch.empty])
def test_a_device_that_does_not_exist_is_refused(device, make):
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        make(3, device=f"{device.type}:1")
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(3).to(f"{device.type}:1")


OUTSIDE = {
    "index": lambda table, index: table[index],
    "index_select": lambda table, index: table.index_select(0, index),
    "gather": lambda table, index: table.gather(0, index[None]),
    "scatter_add": lambda table, index: table.scatter_add(0, index[None], table[:1, :1]),
    "index_add": lambda table, index: table.index_add(0, index, table[:1]),
    "embedding_bag": lambda table, index: torch.nn.functional.embedding_bag(index[None], table),
}


@pytest.mark.parametrize("take", OUTSIDE.values(), ids=OUTSIDE.keys())
@pytest.mark.parametrize("number", [3, 7])
def test_an_index_out_of_range_is_refused(device, take, number):
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)|valid range"):
        take(on(device, 3, 2), torch.tensor([number], device=device))


def test_the_device_has_its_own_random_state(device):
    torch.manual_seed(3)
    first, on_cpu = torch.rand(4, device=device), torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4), on_cpu)
    with torch.random.fork_rng(devices=[device], device_type=device.type):
        torch.rand(9, device=device)
    assert torch.equal(torch.rand(4, device=device), first)
    assert not torch.equal(torch.rand(4, device=device), first)


def test_generators_of_the_device_are_independent(device):
    generators = [torch.Generator(device=device).manual_seed(1) for _ in range(2)]
    draws = [torch.randperm(9, generator=one, device=device) for one in generators]
    assert torch.equal(*draws)
    state = generators[0].get_state()
    again = torch.rand(3, generator=generators[0], device=device)
    generators[0].set_state(state)
    assert torch.equal(torch.rand(3, generator=generators[0], device=device), again)


def test_batch_norm_updates_its_statistics(device):
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) + 2
    layers = [torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3).to(device)]
    outputs = [layer(rows.to(layer.weight.device)).cpu() for layer in layers]
    torch.testing.assert_close(*outputs)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        found = getattr(layers[1], name)
        assert found.device.type == device.type
        torch.testing.assert_close(found.cpu(), getattr(layers[0], name))


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_csr_rows_are_multiplied_without_conversion(device, operators):
    dense = torch.tensor([[0.0, 2, 0], [1, 0, 3]])
    weight = torch.arange(6.0).view(3, 2)
    sparse, weight_here = dense.to_sparse_csr().to(device), weight.to(device).requires_grad_()
    product = torch.addmm(torch.ones(2, device=device), sparse, weight_here)
    product.sum().backward()
    torch.testing.assert_close(product.detach().cpu(), dense @ weight + 1)
    torch.testing.assert_close(weight_here.grad.cpu(), dense.T @ torch.ones(2, 2))
    kernels = operators.counted_kernels()
    assert kernels["compressed aten::addmm"] == kernels["compressed aten::mm"] == 1


def test_transfers_are_counted(device, operators):
    rows = torch.ones(5).to(device)
    rows.sum().item()
    (rows * 2).cpu()
    assert operators.counted_transfers() == [1, 1, 1]
    operators.reset_counts()
    assert operators.counted_transfers() == [0, 0, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda device: torch.ones(2, dtype=torch.float64, device=device),
        lambda device: torch.ones(2, device=device).double(),
        lambda device: torch.ones(2, dtype=torch.float64).to(device),
        lambda device: torch.ones(2, device=device).sum(dtype=torch.float64),
    ],
)
def test_double_precision_can_be_forbidden(device, make, without_double):
    with pytest.raises(TypeError, match="does not support float64"):
        make(device)
