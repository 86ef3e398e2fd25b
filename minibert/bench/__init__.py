"""How fast it is: timings of kernels, products and training steps, and how much of the machine they use."""
