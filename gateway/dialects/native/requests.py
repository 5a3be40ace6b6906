"""The body of a native request, as JSON or as a form; POST /v1/jobs and POST /v1/estimate read the same."""

from typing import Any, get_args

import msgspec

from gateway.access.model import Caller
from gateway.dialects.native.wire import CreateJob, ImageInput
from gateway.edge.bodies import Upload, content_type, convert, decode_lenient, nested, read_form, read_json
from gateway.edge.caller import HttpRequest
from gateway.edge.inputs import Image, image_at
from gateway.errors import InvalidRequest, UnsupportedField
from gateway.video import Role

ROLES: tuple[Role, ...] = get_args(Role)
"""A file part of a form is named after the role of its image."""

_strict = msgspec.json.Decoder(CreateJob)
_anything = msgspec.json.Decoder(Any)


async def read_request(request: HttpRequest, caller: Caller) -> tuple[CreateJob, list[Image], list[str]]:
    """The request, its images (not looked at yet), and for a lenient key the fields that were ignored.

    Raises the errors of `read_json` and `read_form`, and InvalidMedia.
    """
    if content_type(request)[0] == "multipart/form-data":
        form = await read_form(request)
        fields = nested(form.fields)
        body, ignored = decode_lenient(fields, CreateJob, strict=False) if caller.lenient else (_converted(fields), [])
        uploads = [upload for upload in form.files if upload.field in ROLES or not _ignored(caller, upload, ignored)]
        return body, _images(body, uploads), ignored
    if caller.lenient:
        body, ignored = decode_lenient(await read_json(request, _anything), CreateJob)
    else:
        body, ignored = await read_json(request, _strict), []
    return body, _images(body, []), ignored


def _converted(fields: dict[str, Any]) -> CreateJob:
    return convert(fields, CreateJob, strict=False)


def _ignored(caller: Caller, upload: Upload, ignored: list[str]) -> bool:
    if not caller.lenient:
        raise UnsupportedField(
            f"the file part {upload.field!r} is not supported; name it after its role: {', '.join(ROLES)}", param=upload.field
        )
    ignored.append(upload.field)
    return True


def _images(body: CreateJob, uploads: list[Upload]) -> list[Image]:
    images: list[Image] = []
    for index, item in enumerate(body.inputs):
        name = f"inputs[{index}]"
        match item:
            case ImageInput(data=str(text), url=None):
                images.append(image_at(item.role, text, f"{name}.data"))
            case ImageInput(data=None, url=str(link)):
                images.append(image_at(item.role, link, f"{name}.url"))
            case _:
                raise InvalidRequest(f"{name}: give data or url", param=name)
    images.extend(Image(role, upload.data, role) for upload in uploads for role in ROLES if role == upload.field)
    return images
