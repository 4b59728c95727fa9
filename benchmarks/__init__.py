"""Measurements that a user can repeat: `make bench`. Every figure is a ratio to redis-server in the same run."""
