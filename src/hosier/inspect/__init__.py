"""Look at images and at the machine: what is in them, why, and what is amiss. Changes nothing."""
