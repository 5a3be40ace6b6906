"""What a newcomer pastes next."""


def snippets(base_url: str, key: str) -> str:
    """curl, the openai SDK and the Ark SDK against this gateway."""
    return f"""\
curl -s {base_url}/v1/jobs -H "authorization: Bearer {key}" \\
  -H "content-type: application/json" -d '{{"model": "testcard", "prompt": "a red lamp", "seconds": 4}}'

# pip install openai
from openai import OpenAI
client = OpenAI(base_url="{base_url}/v1", api_key="{key}")
video = client.videos.create_and_poll(model="testcard", prompt="a red lamp", seconds="4", size="1280x720")
client.videos.download_content(video.id).write_to_file("out.mp4")

# pip install volcengine-ark-runtime
from volcenginesdkarkruntime import Ark
client = Ark(base_url="{base_url}/api/v3", api_key="{key}")
task = client.content_generation.tasks.create(model="testcard", content=[{{"type": "text", "text": "a red lamp"}}], duration=4)
print(client.content_generation.tasks.get(task_id=task.id))

API {base_url}   documentation {base_url}/docs   metrics {base_url}/metrics"""
