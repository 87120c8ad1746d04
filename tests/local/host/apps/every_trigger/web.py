import asyncio
import json
import typing

import azure.functions as func

blueprint = func.Blueprint()


@blueprint.route(route="hello/{name}/{count:int?}", auth_level=func.AuthLevel.ANONYMOUS, methods=["GET"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    answer = func.HttpResponse(f"hello {req.route_params['name']} {req.route_params.get('count')}", status_code=203)
    answer.headers["X-Seen"] = req.params.get("q", "")
    return answer


@blueprint.route(route="echo", methods=["POST"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps({"got": req.get_json()}), mimetype="application/json")


@blueprint.route(route="steer", auth_level=func.AuthLevel.ADMIN, methods=["GET"])
def steer(req: func.HttpRequest) -> str:
    return "steered"


@blueprint.route(route="fan-out", auth_level=func.AuthLevel.ANONYMOUS, methods=["POST"])
@blueprint.queue_output(arg_name="keys", queue_name="%KEYS_QUEUE%", connection="STORE")
def fan_out(req: func.HttpRequest, keys: func.Out[typing.List[str]]) -> func.HttpResponse:  # noqa: UP006 - list[str] is refused
    keys.set([json.dumps(item) for item in req.get_json()])
    return func.HttpResponse(status_code=202)


@blueprint.route(route="no-answer", auth_level=func.AuthLevel.ANONYMOUS, methods=["GET"])
def no_answer(req: func.HttpRequest) -> func.HttpResponse:
    return None  # type: ignore[return-value] - a mistake that real apps make


@blueprint.route(route="slow", auth_level=func.AuthLevel.ANONYMOUS, methods=["GET"])
async def slow(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.Event().wait()
    return func.HttpResponse("never")
