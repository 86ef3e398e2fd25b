"""What kernels run on: compilation and its cache, memory, threads, mathematics of vectors."""
