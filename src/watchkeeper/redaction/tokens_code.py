"""Tokens of git hosts, continuous integration, package registries and tools of development."""

from __future__ import annotations

from watchkeeper.redaction.rule import Rule
from watchkeeper.redaction.token_rule import A_UUID, UUID, digits, hexa, lower, mixed, token, upper

GIT_HOSTS: tuple[Rule, ...] = (
    token(
        "github-token",
        "ghp_ gho_ ghu_ ghs_ ghr_",
        rb"[A-Za-z0-9_]{36}[A-Za-z0-9._-]*+",
        mixed(36),
        b"ghp_short and weighp_" + mixed(36),
    ),
    token("github-fine-grained-token", "github_pat_", rb"[A-Za-z0-9_]{22}", mixed(22) + b"_" + mixed(59)),
    token(
        "gitlab-token",
        "glpat- gldt- glrt- glrtr- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct- glwt-",
        rb"[A-Za-z0-9_-]{20}[A-Za-z0-9._-]*+",
        mixed(20),
        b"glpat-token, a personal token",
    ),
    token("gitlab-runner-registration", "GR1348941", rb"[A-Za-z0-9_-]{20}", mixed(20)),
    token(
        "atlassian-token",
        "ATATT3 ATCTT3 ATBB",
        rb"[A-Za-z0-9_=-]{28}[A-Za-z0-9_=-]*+",
        mixed(124),
        b"ATATT3 ATBBONE",
    ),
    token(
        "azure-devops-token",
        "AZDO",
        rb"[A-Za-z0-9]{4}",
        mixed(76) + b"AZDO" + mixed(4),
        b"AZDOtest",
        lead=(rb"[A-Za-z0-9]{76}", 76),
    ),
    token(
        "sourcegraph-token",
        "sgp_ slk_",
        rb"(?:[0-9a-f]{16}_|local_)?[0-9a-f]{40,64}",
        hexa(16) + b"_" + hexa(40),
    ),
)

CONTINUOUS_INTEGRATION: tuple[Rule, ...] = (
    token(
        "circleci-token", "CCIPAT_ CCIPRJ_", rb"[A-Za-z0-9]{20,24}_[0-9a-f]{40}", mixed(22) + b"_" + hexa(40)
    ),
    token("buildkite-token", "bkua_ bkaj_ bkct_ bkat_", rb"[A-Za-z0-9_-]{40}", hexa(40)),
    token(
        "harness-token",
        "pat. sat.",
        rb"[A-Za-z0-9_-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20}",
        mixed(22) + b"." + hexa(24) + b"." + mixed(20),
    ),
    token("sonar-token", "squ_ sqp_ sqa_", rb"[0-9a-f]{40}", hexa(40)),
    token("octopus-key", "API-", rb"[A-Z0-9]{25,40}", upper(26), b"API-DOCUMENTATION and API-KEY"),
    token(
        "launchdarkly-key",
        "sdk- api- mob-",
        UUID,
        A_UUID,
        b"sdk-" + A_UUID[:20] + b" api-reference-of-the-client",
    ),
    token("scalingo-token", "tk-us-", rb"[A-Za-z0-9_-]{48}", mixed(48)),
    token("prefect-key", "pnu_ pnb_", rb"[A-Za-z0-9]{36}", lower(36)),
    token("chromatic-token", "chpt_", rb"[A-Za-z0-9]{12,}", lower(15)),
    token(
        "terraform-cloud-token",
        ".atlasv1.",
        rb"[A-Za-z0-9_=-]{60,}",
        mixed(14) + b".atlasv1." + mixed(67),
        b"x.atlasv1.token",
        lead=(rb"[A-Za-z0-9]{14}", 14),
    ),
    token("pulumi-token", "pul-", rb"[0-9a-f]{40}", hexa(40)),
    token("openshift-token", "sha256~", rb"[A-Za-z0-9_-]{43}", mixed(43)),
    token("depot-token", "depot_org_ depot_project_ depot_user_", rb"[A-Za-z0-9]{40,}", hexa(64)),
)

REGISTRIES: tuple[Rule, ...] = (
    token("npm-token", "npm_", rb"[A-Za-z0-9]{36}", mixed(36), b"npm_config_registry_with_a_long_name_here"),
    token(
        "pypi-token",
        "pypi-",
        rb"A[A-Za-z0-9_-]{50}",
        b"AgEIcHlwaS5vcmc" + mixed(62),
        b"pypi-attestations-of-a-package-with-a-name-which-is-rather-long-indeed",
    ),
    token("rubygems-key", "rubygems_", rb"[0-9a-f]{48}", hexa(48)),
    token("docker-token", "dckr_pat_ dckr_oat_", rb"[A-Za-z0-9_-]{20}", mixed(27)),
    token("clojars-token", "CLOJARS_", rb"[A-Za-z0-9]{60}", lower(60)),
    token(
        "packagist-token",
        "packagist_uut_ packagist_out_ packagist_ack_ packagist_acs_ packagist_ort_",
        rb"[0-9a-f]{40,}",
        hexa(68),
    ),
    token("artifactory-key", "AKCp", rb"[A-Za-z0-9]{69}", mixed(69)),
    token("artifactory-reference-token", "cmVmdGtu", rb"[A-Za-z0-9]{56}", mixed(56)),
)

TOOLS: tuple[Rule, ...] = (
    token("postman-key", "PMAK-", rb"[0-9a-f]{24}-[0-9a-f]{34}", hexa(24) + b"-" + hexa(34)),
    token("linear-key", "lin_api_ lin_oauth_", rb"[A-Za-z0-9]{32}", mixed(40)),
    token("figma-token", "figd_ figo_ figu_ figor_ figoh_", rb"[A-Za-z0-9_-]{36}", mixed(40)),
    token("notion-token", "ntn_", rb"[0-9]{11}[A-Za-z0-9]{35}", digits(11) + mixed(35)),
    token("notion-integration-secret", "secret_", rb"[A-Za-z0-9]{43}", mixed(43)),
    token("readme-key", "rdme_", rb"[a-z0-9]{70}", lower(70)),
    token("contentful-token", "CFPAT-", rb"[A-Za-z0-9_-]{43}", mixed(43)),
    token(
        "airtable-token",
        "pat",
        rb"[A-Za-z0-9]{14}\.[0-9a-f]{64}",
        mixed(14) + b"." + hexa(64),
        b"path.pattern patpatterns.abc",
    ),
    token("typeform-token", "tfp_", rb"[A-Za-z0-9_.=-]{40,}", mixed(44) + b"_" + mixed(14)),
    token(
        "tailscale-key",
        "tskey-",
        rb"[a-z]{2,10}-[A-Za-z0-9-]{20}",
        b"auth-" + mixed(12) + b"-" + mixed(32),
        b"tskey-auth-key",
    ),
    token(
        "defined-networking-token",
        "dnkey-",
        rb"[a-z0-9=_-]{26}-[a-z0-9=_-]{52}",
        lower(26) + b"-" + lower(52),
    ),
    token(
        "doppler-token",
        "dp.pt. dp.ct. dp.sa. dp.st. dp.scim. dp.audit. dp.said.",
        rb"(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}",
        mixed(43),
    ),
    token("onepassword-service-token", "ops_", rb"eyJ[A-Za-z0-9+/_-]{80,}={0,3}", b"eyJ" + mixed(100)),
    token(
        "onepassword-secret-key",
        "A3-",
        rb"[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}",
        upper(6) + b"-" + upper(11) + b"-" + b"-".join([upper(5)] * 3),
    ),
    token(
        "infisical-token",
        "st.",
        rb"[0-9a-f]{24}\.[0-9a-f]{32}\.[0-9a-f]{32}",
        hexa(24) + b"." + hexa(32) + b"." + hexa(32),
    ),
    token("vault-token", "hvs. hvb. hvr.", rb"[A-Za-z0-9_-]{24}", mixed(28)),
    token("age-secret-key", "AGE-SECRET-KEY-", rb"1[A-Z0-9]{58}", b"1" + upper(58), b"AGE-SECRET-KEY-1x"),
    token("ory-token", "ory_pat_ ory_at_ ory_rt_ ory_st_ ory_ac_", rb"[A-Za-z0-9._-]{32}", mixed(32)),
    token("n8n-key", "n8n_api_", rb"[A-Za-z0-9._-]{32,}", mixed(48)),
    token("wakatime-key", "waka_", UUID, A_UUID),
    token("adafruit-key", "aio_", rb"[A-Za-z0-9]{28}", mixed(28)),
    token("frameio-token", "fio-u-", rb"[A-Za-z0-9_=-]{64}", mixed(64)),
    token("adobe-client-secret", "p8e-", rb"[A-Za-z0-9_-]{32}", mixed(32)),
    token("intra42-secret", "s-s4t2ud- s-s4t2af-", rb"[0-9a-f]{64}", hexa(64)),
    token("settlemint-token", "sm_aat_ sm_pat_ sm_sat_", rb"[A-Za-z0-9]{16}", mixed(16)),
    token("lichess-token", "lip_", rb"[A-Za-z0-9]{20}", mixed(20)),
    token("stytch-secret", "secret-live- secret-test-", rb"[A-Za-z0-9_=-]{35}", mixed(36)),
    token("webflow-token", "ws-", rb"[0-9a-f]{64}", hexa(64)),
    token("plane-key", "plane_api_", rb"[0-9a-f]{32}", hexa(32)),
    token("cal-key", "cal_live_ cal_test_", rb"[0-9a-f]{32}", hexa(32)),
)
