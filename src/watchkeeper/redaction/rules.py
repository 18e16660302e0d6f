"""Rules for secrets that are known by what stands around them, and the list of all rules in force."""

from __future__ import annotations

from watchkeeper.redaction.contexts import COMMANDS, FILES, WEB
from watchkeeper.redaction.named import NAMED
from watchkeeper.redaction.rule import ASSIGNED, FILLER, Rule
from watchkeeper.redaction.tokens_cloud import CLOUDS, DATABASES, MONITORING
from watchkeeper.redaction.tokens_code import CONTINUOUS_INTEGRATION, GIT_HOSTS, REGISTRIES, TOOLS
from watchkeeper.redaction.tokens_services import MESSAGES, MODELS, PAYMENT
from watchkeeper.redaction.values import placeholder, random_looking

_KEY_TEXT = (
    rb"(?:[A-Za-z0-9+/=:,. \t|>#*]|-(?!----)|\xe2\x86\x92"
    rb"|\\++(?:[nrt/]|u000[9aAdD]|u2192|u003[dDeE])"
    rb"|(?:\\\\)*+\\[\"'])"
)
# A client's patches are arrays with a string for each line. What follows must be an element too, not a member.
_NEXT_STRING = rb"\"[ ]?,[ ]?\"(?=[A-Za-z0-9+/=:,. \t-]{1,120}\"[ ]?[,\]])(?:-(?=-----END ))?"

_PRIVATE_KEY = Rule(
    name="private-key",
    # A key whose end was cut off is known by its long lines; without that limit prose after a lone marker
    # would go.
    scans=(
        (
            b"-----BEGIN ",
            rb"(?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?=(?:[^-]|-(?!----)){0,200}?[A-Za-z0-9+/]{16})("
            rb"(?:" + _KEY_TEXT + rb"|" + _NEXT_STRING + rb")++(?=-----END )"
            rb"|(?:(?:\\++(?:[nrt]|u000[9aAdD])|" + _NEXT_STRING + rb")*+[ \t]{0,8}[A-Za-z0-9+/=]{16,}+)++)",
        ),
    ),
    positive=b'{"content":"-----BEGIN RSA PRIVATE KEY-----\\nMIIE'
    + FILLER
    + b'\\n-----END RSA PRIVATE KEY-----\\n"}',
    secret=FILLER,
    negative=b'{"content":"-----BEGIN CERTIFICATE-----\\nMIIE'
    + FILLER
    + b'\\n-----END CERTIFICATE-----\\n"}',
)

_JSON_WEB_TOKEN = Rule(
    name="json-web-token",
    anchors=(b"eyJ",),
    # Only from where a word begins: nothing but the first of a long run is tried.
    body=rb"(?:(?<![A-Za-z0-9_-]eyJ)|(?<=\\[bfnrt]eyJ)|(?<=\[[0-9]meyJ)|(?<=%[0-9A-F]{2}eyJ))"
    rb"[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]{10,}+",
    positive=b'{"stdout":"line\\neyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.' + FILLER[:43] + b'"}',
    secret=b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + FILLER[:43],
    negative=b'{"stdout":"eyJhbGciOiJIUzI1NiJ9 is half a token"}',
)

_SLACK_HOOK = Rule(
    name="slack-webhook",
    scans=((b"://", rb"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/]{24,}+)"),),
    positive=b'{"command":"curl https://hooks.slack.com/services/T0000AB12/B0000CD34/' + FILLER[:24] + b'"}',
    secret=FILLER[:24],
    negative=b'{"command":"open https://hooks.slack.com/services/docs"}',
)

_URL_PASSWORD = Rule(
    name="url-password",
    scans=(
        (
            b"://",
            (
                rb"(?<=[A-Za-z0-9+]://)[^\s\x00-\x1f\"'`\\/@:\[<>]{0,128}:(?!\[REDACTED:|[$<{]|\*{3}|%[({sdv]|pserver:)"
                rb"([^\s\x00-\x1f\"'`\\/@:<>][^\s\x00-\x1f\"'`\\/@<>]{0,255})@"
            ),
        ),
    ),
    weigh=lambda value: not placeholder(value) and not (len(value) < 4 and value.isalpha()),
    positive=b'{"command":"psql postgres://app:hunter2@db.example:5432/app"}',
    secret=b"hunter2",
    negative=b'{"command":"curl http://127.0.0.1:8080/a@b http://$USER:$PASS@host git@example.org:a/b"}',
)

_AUTHORIZATION = Rule(
    name="authorization-header",
    lowered=True,
    scans=(
        (
            b"auth",
            rb"orization"
            + ASSIGNED
            + rb"(?:(?:bearer|basic|token|apikey|bot|digest|negotiate|splunk|genie-?key|sso-key)"
            + rb" {1,2}([a-z0-9._~+/-]{8,}+=*+))",
        ),
    ),
    weigh=lambda value: not placeholder(value),
    positive=b'{"command":"curl -H \\"Authorization: Basic ' + FILLER[:24] + b'\\" https://example.org"}',
    secret=FILLER[:24],
    negative=b'{"command":"curl -H \\"Authorization: Bearer $TOKEN\\" https://example.org"}',
)

_AUTHORIZATION_VALUE = Rule(
    name="authorization-value",
    lowered=True,
    scans=((b"authorization:", rb"[ ]{0,2}([a-z0-9._~+/-]{20,}+=*+)(?![ ]?[a-z0-9(])"),),
    weigh=lambda value: random_looking(value) and not placeholder(value),
    positive=b'{"command":"curl -H \'Authorization: ' + FILLER[:32] + b"' https://example.org\"}",
    secret=FILLER[:32],
    negative=b'{"text":"Authorization: AWS4-HMAC-SHA256 Credential=x, authorization: proxy-authenticate-headers-2"}',
)

_BEARER = Rule(
    name="bearer-token",
    lowered=True,
    scans=((b"bearer ", rb" {0,1}(?=[a-z._~+/-]{0,64}[0-9])([a-z0-9._~+/-]{16,}+=*+)"),),
    weigh=lambda value: not placeholder(value),
    positive=b'{"headers":{"x-forwarded":"Bearer ' + FILLER[:32] + b'"}}',
    secret=FILLER[:32],
    negative=b'{"text":"a bearer authentication-scheme, or Bearer YOUR_ACCESS_TOKEN_HERE"}',
)


def _form(name: str, positive: bytes, secret: bytes, negative: bytes) -> Rule:
    """Return a general rule for named secrets; `assignments` says what falls under which."""
    return Rule(name=name, positive=positive, secret=secret, negative=negative)


FORMS: tuple[Rule, ...] = (
    _form(
        "header-key",
        b'{"command":"curl -H \'X-Api-Key: ' + FILLER[:32] + b"'\"}",
        FILLER[:32],
        b'{"command":"curl -H \\"X-Api-Key: $KEY\\""}',
    ),
    _form(
        "url-parameter",
        b'{"url":"https://example.org/v1?page=2&access_token=' + FILLER[:24] + b'&n=1"}',
        FILLER[:24],
        b'{"url":"https://example.org/v1?token=&page=2&tokens=400000000&sort_key=created_at_time"}',
    ),
    _form(
        "command-flag",
        b'{"command":"deploy --user app --password Sommer-2031 --verbose"}',
        b"Sommer-2031",
        b'{"command":"login --password-stdin --token $TOKEN --password <password> --max-tokens 4000 --api-key file"}',
    ),
    _form(
        "environment-secret",
        b'{"stdout":"DEBUG=1\\nDATABASE_PASSWORD=hunter2!x\\nexport PORT=80"}',
        b"hunter2!x",
        b'{"stdout":"MAX_TOKENS=4096000\\nTOKEN_LIMIT=100000\\nPASSWORD_FILE=/run/secrets/db\\nAPI_KEY=$OTHER_KEY\\n'
        b'SECRET=${VAULT_SECRET}\\nPRIMARY_KEY=identifier"}',
    ),
    _form(
        "quoted-secret",
        b'{"content":"{\\"clientSecret\\": \\"' + FILLER[:16] + b'\\", \\"port\\": 80}"}',
        FILLER[:16],
        b'{"content":"{\\"password\\": \\"required\\", \\"max_tokens\\": 123456}"}',
    ),
    _form(
        "assigned-secret",
        b'{"content":"server:\\n  db_password: Winter_2029x\\n  port: 80"}',
        b"Winter_2029x",
        b'{"content":"def f(password: str, token=None):\\n    token = get_token()\\n    password = args.password1"}',
    ),
)

RULES: tuple[Rule, ...] = (
    _PRIVATE_KEY,
    *GIT_HOSTS,
    *CONTINUOUS_INTEGRATION,
    *REGISTRIES,
    *TOOLS,
    *CLOUDS,
    *DATABASES,
    *MONITORING,
    *MODELS,
    *PAYMENT,
    *MESSAGES,
    _JSON_WEB_TOKEN,
    _SLACK_HOOK,
    _URL_PASSWORD,
    _AUTHORIZATION,
    _AUTHORIZATION_VALUE,
    _BEARER,
    *WEB,
    *FILES,
    *COMMANDS,
    *NAMED,
    *FORMS,
)
