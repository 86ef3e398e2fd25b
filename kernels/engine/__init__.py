"""Matrix products and attention at the machine's limit, behind the one door of kernels/__init__.py."""
