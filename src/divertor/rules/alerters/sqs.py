"""`sqs`: messages of an Amazon SQS queue."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, path_part, transport
from divertor.rules.reading.options import Option, urls

DECLARATION = AlerterDeclaration(
    "sqs",
    (
        Option("sqs_queue_url", urls, required=True),
        *defaults("sqs_aws_access_key_id", "sqs_aws_secret_access_key", "sqs_aws_profile"),
        Option("sqs_aws_region", path_part),
        *transport("sqs"),
    ),
    resolved="a message with the status `resolved`",
)
