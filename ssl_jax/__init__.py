"""ssl_jax: self-supervised learning of images, video, sound and text in JAX and Flax."""
