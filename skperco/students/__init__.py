"""Students: linear maps, multi-layer perceptrons and users' own modules."""
