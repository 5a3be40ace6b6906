import pytest
from openai import OpenAI
from tests.stack import Customer, Stack


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_a_video_from_request_to_file(stack: Stack, customer: Customer) -> None:
    with OpenAI(base_url=f"{stack.base_url}/v1", api_key=customer.live) as client:
        video = client.videos.create(prompt="a lamp", seconds="2", size="320x180")
        print(video)
        done = client.videos.poll(video.id)
        print(done)
        print(client.videos.download_content(video.id).read()[:20])
