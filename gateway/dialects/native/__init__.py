"""The native dialect: /v1/jobs."""
