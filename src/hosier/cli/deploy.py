"""`hosier deploy IMAGE DIR`: lay an image's root into a folder of this host, whole; what `sew` does after its build."""
