"""What the kernel offers, by its own names: system calls, namespaces, mounts, id maps, safe paths, the box."""
