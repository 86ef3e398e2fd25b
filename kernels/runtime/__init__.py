"""What kernels run on: compilation and its cache, memory pool, threads, vector maths."""
