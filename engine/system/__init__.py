"""The machine: processes, locks, GPUs, memory, systemd."""
