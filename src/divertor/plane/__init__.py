"""The control plane as one process: everything that decides, put together; `python -m divertor.plane`."""
