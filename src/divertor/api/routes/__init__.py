"""The routes under `/api/v1`, one module per noun. Each reads, asks a service, and answers; none decides."""
