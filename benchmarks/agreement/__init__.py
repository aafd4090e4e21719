"""Does the simulator say what real runs do? Predictions held against measurements, on emulated clusters."""
