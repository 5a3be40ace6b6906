"""Request bodies shown in the OpenAPI document; tests send each of them."""

from typing import Any

CREATE_JOB: dict[str, Any] = {
    "text": {"model": "testcard", "prompt": "A paper boat crosses a puddle, rain, macro lens", "seconds": 4, "size": "1280x720"},
    "cheap": {
        "model": "testcard",
        "prompt": "A paper boat crosses a puddle",
        "seconds": 4,
        "resolution": "480p",
        "ratio": "9:16",
        "fps": 24,
        "seed": 7,
        "tier": "flex",
        "queue_deadline_s": 86400,
        "external_id": "order-17",
        "metadata": {"campaign": "spring"},
    },
    "image": {
        "model": "testcard",
        "prompt": "The boat sails away",
        "seconds": "auto",
        "inputs": [
            {
                "role": "first_frame",
                "data": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC",
            }
        ],
    },
}
