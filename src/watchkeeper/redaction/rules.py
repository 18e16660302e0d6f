"""Rules for secrets that are known by what stands around them, and the list of all rules in force."""

from __future__ import annotations

from watchkeeper.redaction.rule import ASSIGNED, ESCAPED, FILLER, NOT_A_VALUE, QUOTED, Rule
from watchkeeper.redaction.tokens import TOKENS

_KEY_TEXT = (
    rb"(?:[A-Za-z0-9+/=:,. \t|>#*]|-(?!----)|\xe2\x86\x92"
    rb"|\\++(?:[nrt/]|u000[9aAdD]|u2192|u003[dDeE])"
    rb"|(?:\\\\)*+\\[\"'])"
)

_PRIVATE_KEY = Rule(
    name="private-key",
    anchors=(b"-----BEGIN ",),
    # A key whose end was cut off is known by its long lines; without that limit prose after a lone marker
    # would go.
    pattern=(
        rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?P<secret>"
        rb"(?:" + _KEY_TEXT + rb")++(?=-----END )"
        rb"|(?:(?:\\++(?:[nrt]|u000[9aAdD]))*+[ \t]{0,8}[A-Za-z0-9+/=]{16,}+)++)"
    ),
    positive=b'{"content":"-----BEGIN RSA PRIVATE KEY-----\\nMIIE'
    + FILLER
    + b'\\n-----END RSA PRIVATE KEY-----\\n"}',
    secret=FILLER,
    negative=b'{"content":"-----BEGIN CERTIFICATE-----\\nMIIE'
    + FILLER
    + b'\\n-----END CERTIFICATE-----\\n"}',
)

_SLACK_HOOK = Rule(
    name="slack-webhook",
    anchors=(b"://",),
    pattern=rb"://hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/]{24,}+)",
    positive=b'{"command":"curl https://hooks.slack.com/services/T0000AB12/B0000CD34/' + FILLER[:24] + b'"}',
    secret=FILLER[:24],
    negative=b'{"command":"open https://hooks.slack.com/services/docs"}',
)

_URL_PASSWORD = Rule(
    name="url-password",
    anchors=(b"://",),
    pattern=(
        rb"(?<=[A-Za-z0-9+])://[^\s\x00-\x1f\"'`\\/@:\[<>]{0,128}:"
        rb"(?!\[REDACTED:|[$<{]|\*{3})(?P<secret>[^\s\x00-\x1f\"'`\\/@<>]{1,256})@"
    ),
    positive=b'{"command":"psql postgres://app:hunter2@db.example:5432/app"}',
    secret=b"hunter2",
    negative=b'{"command":"curl http://127.0.0.1:8080/a@b http://$USER:$PASS@host git@example.org:a/b"}',
)

_AUTHORIZATION = Rule(
    name="authorization-header",
    anchors=(b"authorization",),
    ignore_case=True,
    pattern=(
        rb"(?i:authorization)"
        + ASSIGNED
        + rb"(?:(?i:bearer|basic|token|apikey|bot) {1,2}(?P<secret>[A-Za-z0-9._~+/-]{8,}+=*+))"
    ),
    positive=b'{"command":"curl -H \\"Authorization: Basic ' + FILLER[:24] + b'\\" https://example.org"}',
    secret=FILLER[:24],
    negative=b'{"command":"curl -H \\"Authorization: Bearer $TOKEN\\" https://example.org"}',
)

_BEARER = Rule(
    name="bearer-token",
    anchors=(b"bearer ",),
    ignore_case=True,
    pattern=rb"(?i:bearer) {1,2}(?=[A-Za-z._~+/-]{0,64}[0-9])(?P<secret>[A-Za-z0-9._~+/-]{16,}+=*+)",
    positive=b'{"headers":{"x-forwarded":"Bearer ' + FILLER[:32] + b'"}}',
    secret=FILLER[:32],
    negative=b'{"text":"a bearer authentication-scheme, or Bearer YOUR_ACCESS_TOKEN_HERE"}',
)

# One scan per word finds the ends of all names that hold it, with whatever follows up to the sign of an
# assignment.
_NAME_GATE = rb"[a-z0-9_-]{0,40}\\*[\"']?[ \t]{0,2}(?:[:=]|\\u003d)"

_HEADER_KEY = Rule(
    name="header-key",
    anchors=(b"token", b"key"),
    ignore_case=True,
    gate=_NAME_GATE,
    pattern=(
        rb"(?i:(?:(?<=x-api-)|(?<=x-goog-api-)|(?<=dd-api-))key|(?:(?<=private-)|(?<=x-auth-)|(?<=x-vault-))token)"
        + ASSIGNED
        + NOT_A_VALUE
        + rb"(?P<secret>[A-Za-z0-9._~+/-]{12,}+=*+)"
    ),
    positive=b'{"command":"curl -H \'X-Api-Key: ' + FILLER[:32] + b"'\"}",
    secret=FILLER[:32],
    negative=b'{"command":"curl -H \\"X-Api-Key: $KEY\\""}',
)

_QUERY = Rule(
    name="url-parameter",
    anchors=(b"secret", b"token", b"key"),
    ignore_case=True,
    gate=_NAME_GATE,
    pattern=(
        rb"(?:(?<=[?&])|(?<=[?&]access_)|(?<=[?&]refresh_)|(?<=[?&]id_)|(?<=[?&]auth_)|(?<=[?&]private_)"
        rb"|(?<=[?&]api_)|(?<=[?&]api)|(?<=[?&]api-)|(?<=[?&]client_)|(?<=[?&](?i:x-amz-security-)))"
        rb"(?i:token|key|secret)=" + NOT_A_VALUE + rb"(?P<secret>[A-Za-z0-9._~+/%=-]{8,}+)"
    ),
    positive=b'{"url":"https://example.org/v1?page=2&access_token=' + FILLER[:24] + b'&n=1"}',
    secret=FILLER[:24],
    negative=b'{"url":"https://example.org/v1?token=&page=2&tokens=400000000&sort_key=created_at_time"}',
)

_NOT_SECRET_SUFFIX = (
    rb"(?!S?_?(?:FILE|PATH|DIR|URL|URI|NAME|HEADER|LIMIT|EXPIR|TTL|AGE|LEN|TYPE|ENDPOINT|COUNT|SIZE|ID\b|ARN"
    rb"|ENABLE|REGEX|PREFIX|MIN|MAX|POLICY|PROVIDER|USAGE|FIELD|BUDGET|COST|WINDOW)|S[=:_ ])"
)
_UPPER_NAME = (
    rb"(?:(?<![a-z])|" + ESCAPED + rb")(?:SECRET|TOKEN|PASSW(?:OR)?D|PASSPHRASE"
    rb"|(?:(?<=API_)|(?<=API)|(?<=ACCESS_)|(?<=PRIVATE_)|(?<=SECRET_)|(?<=ENCRYPTION_)|(?<=SIGNING_)|(?<=MASTER_)"
    rb"|(?<=AUTH_)|(?<=ACCOUNT_)|(?<=SERVICE_)|(?<=LICENSE_)|(?<=DEPLOY_)|(?<=SSH_)|(?<=HMAC_)|(?<=JWT_))KEY)"
    + _NOT_SECRET_SUFFIX
    + rb"[A-Z0-9_]{0,40}+"
)
_ENVIRONMENT = Rule(
    name="environment-secret",
    anchors=(b"secret", b"token", b"key", b"pass"),
    ignore_case=True,
    gate=_NAME_GATE,
    # Unquoted as in env files and shells, where no blank may stand beside the equals sign; or quoted with
    # any spacing.
    pattern=(
        _UPPER_NAME + rb"(?:(?:=|\\u003[dD])" + NOT_A_VALUE + rb"(?P<bare>[^\s\x00-\x20\"'`\\;&|<>]{6,}+)"
        rb"|" + QUOTED + NOT_A_VALUE + rb"(?:(?P<quoted>[^\x00-\x1f\"'\\]{6,}+)(?=\\*+[\"'])"
        rb"|(?P<cut>[^\s\x00-\x20\"'\\]{6,}+)))"
    ),
    positive=b'{"stdout":"DEBUG=1\\nDATABASE_PASSWORD=hunter2!x\\nexport PORT=80"}',
    secret=b"hunter2!x",
    negative=(
        b'{"stdout":"MAX_TOKENS=4096000\\nTOKEN_LIMIT=100000\\nPASSWORD_FILE=/run/secrets/db\\nAPI_KEY=$OTHER_KEY\\n'
        b'SECRET=${VAULT_SECRET}\\nPRIMARY_KEY=identifier"}'
    ),
)

_AWS_SECRET = Rule(
    name="aws-secret-key",
    anchors=(b"aws_secret_access_key", b"aws_session_token"),
    ignore_case=True,
    # Blanks around the sign, as the credentials file has them.
    pattern=(
        rb"(?i:aws_secret_access_key|aws_session_token)"
        + ASSIGNED
        + NOT_A_VALUE
        + rb"(?P<secret>[A-Za-z0-9+/=]{16,}+)"
    ),
    positive=b'{"content":"[default]\\naws_secret_access_key = ' + FILLER[:40] + b'\\nregion = eu"}',
    secret=FILLER[:40],
    negative=b'{"content":"aws_secret_access_key = ${SECRET}, aws_session_token: none"}',
)

_ANY_NAME = (
    rb"(?i:secret(?:[_-]?(?:key|token))?|(?:(?<![A-Za-z])|"
    + ESCAPED
    + rb"|(?<=access[_-])|(?<=access)|(?<=auth[_-])|(?<=auth)"
    rb"|(?<=refresh[_-])|(?<=refresh)|(?<=bearer[_-])|(?<=bot[_-])|(?<=api[_-])|(?<=api)|(?<=session[_-])"
    rb"|(?<=id[_-]))token|passw(?:or)?d|passphrase"
    rb"|(?:(?<=api[_-])|(?<=api)|(?<=access[_-])|(?<=access)|(?<=private[_-])|(?<=private)|(?<=secret[_-])|(?<=secret)"
    rb"|(?<=encryption[_-])|(?<=signing[_-])|(?<=account))key)"
)
_QUOTED = Rule(
    name="quoted-secret",
    anchors=(b"secret", b"token", b"key", b"pass"),
    ignore_case=True,
    gate=_NAME_GATE,
    # A digit is asked for: names of types, fields and translations are quoted in the same way and have none.
    pattern=(
        _ANY_NAME + QUOTED + NOT_A_VALUE + rb"(?=[^\s\x00-\x20\"'\\]{0,64}?[0-9])"
        rb"(?![A-Za-z0-9_.]{1,64}[(\[])(?P<secret>[^\s\x00-\x20\"'\\]{8,}+)"
    ),
    positive=b'{"content":"{\\"clientSecret\\": \\"' + FILLER[:16] + b'\\", \\"port\\": 80}"}',
    secret=FILLER[:16],
    negative=b'{"content":"{\\"password\\": \\"required\\", \\"max_tokens\\": 123456}"}',
)

RULES: tuple[Rule, ...] = (
    _PRIVATE_KEY,
    *TOKENS,
    _SLACK_HOOK,
    _URL_PASSWORD,
    _AUTHORIZATION,
    _BEARER,
    _HEADER_KEY,
    _QUERY,
    _AWS_SECRET,
    _ENVIRONMENT,
    _QUOTED,
)
