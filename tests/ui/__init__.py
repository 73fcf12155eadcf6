"""Airflow's UI in a real browser: the connection form of 3.3 and of 2.11, and 3.3's grid, log and buttons."""
