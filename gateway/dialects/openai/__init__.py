"""The OpenAI Videos dialect: /v1/videos."""
