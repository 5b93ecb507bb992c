"""From a lock to an image: provide, compose, configure, finish, commit."""
