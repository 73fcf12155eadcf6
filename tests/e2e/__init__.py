"""The provider in a real Airflow: scheduler, workers, triggerer, and sandboxes in the place of White Rabbit."""
