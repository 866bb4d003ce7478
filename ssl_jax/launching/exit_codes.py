"""How a command of this package ends, for the launcher and for schedulers."""

DONE = 0  # or stopped by SIGTERM and saved: then a line that starts with RESUME was printed
FAILED = 1  # a bug, with a traceback
MISTAKE = 2  # in the arguments, the config or the data: trying again would not help
DIVERGED = 3  # the loss or a gradient is not finite
TRY_AGAIN = 4  # the disk was full, or another process was lost: the same command may well resume
BY_CTRL_C = 130

RESUME = "ssl_jax: to resume: "
