"""The saturation study: grid, plan, jobs on any number of machines, report."""
