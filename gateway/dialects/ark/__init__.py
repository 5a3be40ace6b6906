"""The Ark dialect (Volcengine, BytePlus): /api/v3/contents/generations/tasks."""
