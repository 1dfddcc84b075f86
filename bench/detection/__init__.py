"""How many attacks on databases the sensor finds, and how many honest requests it takes for one."""
