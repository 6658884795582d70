"""The process that trains: its device, imports, memory allocator, threads and exit."""
