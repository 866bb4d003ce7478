"""What `ssl_jax.apply` does to files, where it is more than a method's `apply_to`."""
