"""Renders conversations with Jinja itself, set up as Hugging Face's
apply_chat_template sets it up: input and output are those of render.mjs."""
import json, sys, datetime
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.ext import loopcontrols


def raise_exception(message):
    raise ValueError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda format: datetime.datetime.now(datetime.timezone.utc).strftime(format)

for job in json.load(open(sys.argv[1], encoding="utf-8")):
    texts, errors = [], []
    for variables in job["variables"]:
        try:
            texts.append(environment.from_string(job["template"]).render(**variables))
            errors.append("")
        except Exception as error:
            texts.append(None)
            errors.append(repr(error))
    print(json.dumps({"texts": texts, "errors": errors}))
