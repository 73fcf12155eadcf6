"""Airflow on Celery, with several of each component, and what may happen to it."""
