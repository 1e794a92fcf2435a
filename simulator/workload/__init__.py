"""A model as operators: FLOPs, bytes, messages and saved activations of one rank's shard."""
