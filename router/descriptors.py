"""How many descriptors the process may have: connections, ports of indexes, logs, workers' sockets."""

import resource

# Where the system sets no bound.
_MANY = 1 << 20


def raise_descriptor_limit() -> None:
    """Takes as many as the system allows; many systems allow 1,024 unless asked."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def descriptor_limit() -> int:
    """How many there may be now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if soft == resource.RLIM_INFINITY else soft
