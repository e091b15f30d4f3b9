"""The night on one screen: Prefect flows and the command line."""
