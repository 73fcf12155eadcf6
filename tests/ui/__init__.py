"""Airflow's UI in a real browser: the connection form, the trigger form, the grid, the log, the button."""
