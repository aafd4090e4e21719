"""What the hosts run, one file for each system."""
