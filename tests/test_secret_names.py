"""Which environment variables, params and keys hold secrets, and which only sound like it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pytest_mlflow_experiments.records.secret_names import SecretNames
from pytest_mlflow_experiments.records.secrets import environment_secrets

OPAQUE = "q7Zk29fLw0XbT5"
"""A value that looks like a secret."""

WORD = "correcthorse"
"""A secret that looks like none: its name has to tell."""

ENVIRONMENT = """
    AWS_CREDS CREDS
    GITHUB_TOKEN GH_TOKEN GITLAB_TOKEN CI_JOB_TOKEN CI_DEPLOY_PASSWORD CI_REGISTRY_PASSWORD
    ACTIONS_RUNTIME_TOKEN ACTIONS_ID_TOKEN_REQUEST_TOKEN CIRCLE_TOKEN BUILDKITE_AGENT_ACCESS_TOKEN
    SYSTEM_ACCESSTOKEN TRAVIS_API_TOKEN CODECOV_TOKEN COVERALLS_REPO_TOKEN SONAR_TOKEN NPM_TOKEN
    TWINE_PASSWORD PYPI_API_TOKEN UV_PUBLISH_TOKEN POETRY_PYPI_TOKEN_PYPI DOCKER_PASSWORD
    DOCKERHUB_TOKEN AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_SECURITY_TOKEN AZURE_CLIENT_SECRET
    ARM_CLIENT_SECRET ARM_ACCESS_KEY AZURE_STORAGE_KEY AZURE_STORAGE_ACCOUNT_KEY
    AZURE_STORAGE_SAS_TOKEN GOOGLE_CLIENT_SECRET GOOGLE_API_KEY DIGITALOCEAN_ACCESS_TOKEN
    CLOUDFLARE_API_TOKEN HEROKU_API_KEY VAULT_TOKEN CONSUL_HTTP_TOKEN TF_TOKEN_APP_TERRAFORM_IO
    MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN DATABRICKS_TOKEN WANDB_API_KEY HF_TOKEN
    HUGGING_FACE_HUB_TOKEN HUGGINGFACEHUB_API_TOKEN KAGGLE_KEY COMET_API_KEY NEPTUNE_API_TOKEN
    CLEARML_API_SECRET_KEY OPENAI_API_KEY OPENAI_KEY ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN
    AZURE_OPENAI_KEY PINECONE_API_KEY REPLICATE_API_TOKEN LANGCHAIN_API_KEY
    SLACK_BOT_TOKEN SLACK_SIGNING_SECRET STRIPE_SECRET_KEY SENTRY_AUTH_TOKEN DD_API_KEY DD_APP_KEY
    SNOWFLAKE_PASSWORD SNOWFLAKE_PRIVATE_KEY_PASSPHRASE PGPASSWORD MYSQL_PWD MYSQL_ROOT_PASSWORD
    REDISCLI_AUTH_PASSWORD SSHPASS DB_PASS DB_PASSWORD DB_PASSWORD_PROD TOKEN_PROD PASSWORD_PROD
    PASSWORD_1 SECRET_VALUE SECRET_KEY DJANGO_SECRET_KEY FLASK_SECRET_KEY_STAGING MASTER_KEY
    RAILS_MASTER_KEY ENCRYPTION_KEY AIRFLOW__CORE__FERNET_KEY JWT JWT_SECRET SUPABASE_JWT
    GH_PAT AZURE_DEVOPS_EXT_PAT GITLAB_PAT
    SESSION_COOKIE JIRA_COOKIES SSH_PRIVATE_KEY DEPLOY_KEY PRIVATE_TOKEN_EU
    TOKEN_GITHUB GCP_CREDENTIALS_JSON GCP_SA_KEY_BASE64 API_TOKEN_OLD token_of_the_bot apiKey
    myPassword DB_PW PGPASS RSA_KEY HTTP_BASIC_AUTH VAULT_UNSEAL_KEY TF_VAR_db_password
"""
"""Names whose values are secrets whatever they look like."""

TOKENLIKE = """
    OPENAI_API_KEY_PROJECT DB_PASSWORD_SERVER
    PAT BLOB_SAS NPM_AUTH NEO4J_AUTH ACME_KEY COHERE_KEY S3_KEY
    SOME_KEYS KEY SSH_PRIVATE PRIVATE_STUFF SIGNING_PRIVATE_PEM
    VAULT_SECRET_ID COSMOS_PRIMARY_KEY SESSION_KEY BEARER SSH_RSA FASTLANE_SESSION
"""
"""Names whose values are secrets if they look like it."""

NO_SECRETS = """
    TOKENIZERS_PARALLELISM TOKENIZER TOKENIZER_NAME MAX_TOKENS MAX_NEW_TOKENS N_TOKENS NUM_TOKENS
    TOKENS TOKENS_PER_BATCH PAD_TOKEN BOS_TOKEN EOS_TOKEN UNK_TOKEN MASK_TOKEN SEP_TOKEN CLS_TOKEN
    PAD_TOKEN_ID STOP_TOKEN TOKEN_LIMIT TOKEN_COUNT TOKEN_TYPE TOKEN_LENGTH TOKEN_BUDGET
    TOKEN_DROPOUT TOKEN_EMBEDDING_DIM TOKEN_CLASSIFICATION_MODEL TIME_PER_TOKEN KEYBOARD KEYWORDS
    MONKEY PRIMARY_KEY FOREIGN_KEY SORT_KEY PARTITION_KEY JOIN_KEY GROUP_KEY CACHE_KEY TARGET_KEY
    LABEL_KEY FEATURE_KEY COLUMN_KEY OBJECT_KEY ROW_KEY IMAGE_KEY PUBLIC_KEY KEY_COLUMN
    KEY_NAME KEY_ID AWS_ACCESS_KEY_ID AWS_SECRET_NAME SECRET_ARN AWS_SECRET_ARN VAULT_SECRET_PATH
    PASSWORD_LENGTH PASSWORD_POLICY PASSWORD_MIN_LENGTH PASSWORD_FILE POSTGRES_PASSWORD_FILE
    AWS_WEB_IDENTITY_TOKEN_FILE OAUTH_TOKEN_URL TOKEN_ENDPOINT TOKEN_EXPIRY TOKEN_TTL SECRET_COUNT
    SECRETARY COOKIE_NAME COOKIE_DOMAIN JWT_ALGORITHM JWT_ISSUER AUTH_URL OS_AUTH_URL AUTH_TYPE
    AUTHOR AUTHORS GIT_AUTHOR_NAME SSH_AUTH_SOCK SSH_ASKPASS GIT_ASKPASS FORWARD_PASS PASSES
    BYPASS COMPASS PRIVATE_NETWORK PRIVATE_REGISTRY PATH PYTHONPATH PATTERN PATIENCE PATCH_SIZE
    DATABASE_USER USERNAME MLFLOW_TRACKING_URI MLFLOW_TRACKING_USERNAME MLFLOW_EXPERIMENT_NAME
    CREDENTIALS_PROVIDER SASS_STYLE DSN_TYPE PWD OLDPWD HOME WEBHOOK_PORT
    CREDENTIAL_HELPER SESSION_ID CI_COMMIT_SHA GITHUB_SHA GITHUB_REF_NAME RUNNER_TRACKING_ID
    SECRET_MANAGER_PROJECT GPG_KEY PRIVATE_REPOSITORY PRIVATE_IP INVOCATION_ID CUDA_VISIBLE_DEVICES
"""


@pytest.mark.parametrize("name", ENVIRONMENT.split())
@pytest.mark.parametrize("value", [OPAQUE, WORD])
def test_variables_that_are_secrets(name: str, value: str) -> None:
    assert environment_secrets(environ={name: value}) == (value,)


@pytest.mark.parametrize("name", TOKENLIKE.split())
def test_variables_that_are_secrets_if_they_look_like_it(name: str) -> None:
    assert environment_secrets(environ={name: OPAQUE}) == (OPAQUE,)
    assert environment_secrets(environ={name: "customer_id"}) == ()


@pytest.mark.parametrize("name", NO_SECRETS.split())
@pytest.mark.parametrize("value", [OPAQUE, "customer_id"])
def test_variables_that_are_no_secrets(name: str, value: str) -> None:
    assert environment_secrets(environ={name: value}) == ()


def test_values_that_are_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("keys").mkdir()
    values: tuple[str, ...] = (
        "true",
        "False",
        "short",
        "1234567",
        "12345678",
        "-0.123456789",
        "1e-0000010",
        "",
    )
    values = (*values, str(tmp_path), str(tmp_path / "keys"), "./keys/../keys", "/dev/null")
    for value in values:
        assert environment_secrets(environ={"API_TOKEN": value}) == (), value
    # A password that everybody knows would mask ordinary words.
    assert environment_secrets(environ={"POSTGRES_PASSWORD": "postgres"}) == ()


HOOK = "https://hooks.slack.com/services/T0AB12CD3/B0AB12CD3/q7Zk29fLw0XbT5aa"
DOCKER_CODE = base64.b64encode(f"me:{OPAQUE}".encode()).decode()
DOCKER = f'{{"auths": {{"registry.example.com": {{"auth": "{DOCKER_CODE}"}}}}}}'
SAS = "?sv=2022-11-02&ss=b&sig=q7Zk29fLw0XbT5%2Faa%3D&se=2030"
STORAGE = (
    "DefaultEndpointsProtocol=https;AccountName=mlflow;AccountKey=q7Zk29fLw0XbT5aa==;"
    "EndpointSuffix=core.windows.net"
)


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("SLACK_WEBHOOK_URL", HOOK, {HOOK, HOOK.partition(".com")[2]}),
        ("SLACK_HOOK_URL", HOOK, {HOOK, HOOK.partition(".com")[2]}),
        ("DISCORD_WEBHOOK", HOOK, {HOOK, HOOK.partition(".com")[2]}),
        ("DATABASE_URL", f"postgresql://me:{OPAQUE}@host/db", {OPAQUE}),
        ("DATABASE_DSN", f"host=h user=me password={OPAQUE} dbname=db", {OPAQUE}),
        ("ODBC", f"Driver={{ODBC}};UID=mlflow-user;PWD={OPAQUE};", {OPAQUE}),
        ("SENTRY_DSN", f"https://{OPAQUE}@o1.ingest.sentry.io/1", {OPAQUE}),
        ("https_proxy", f"http://me:{OPAQUE}@proxy:80", {OPAQUE}),
        ("PIP_INDEX_URL", f"https://{OPAQUE}@pypi.example.org/simple", {OPAQUE}),
        ("PIP_INDEX_URL", "https://buildserver@pypi.example.org/simple", set()),
        ("BLOB_URL", f"https://a.blob.core.windows.net/x{SAS}", {"q7Zk29fLw0XbT5/aa="}),
        ("AZURE_STORAGE_CONNECTION_STRING", STORAGE, {STORAGE, "q7Zk29fLw0XbT5aa=="}),
        ("DB_CONNECTION_STRING", OPAQUE, {OPAQUE}),
        ("DB_CONNECTION_STRING", "postgresql+psycopg2://mlflow@host/db", set()),
        ("SQLALCHEMY_CONNECTION_STRING", "sqlite:////somewhere/mlflow.db", set()),
        ("SERVICE_ACCOUNT", f'{{"id": 1, "private_key": "{OPAQUE}"}}', {OPAQUE}),
        ("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={OPAQUE},x=1", {OPAQUE}),
        ("CURL_HEADER", f"Authorization: Bearer {OPAQUE}", {OPAQUE}),
        ("PYTEST_ADDOPTS", f"-q --db-password={OPAQUE}", {OPAQUE}),
        ("DOCKER_AUTH_CONFIG", DOCKER, {OPAQUE, DOCKER_CODE}),
        ("GH", "ghp_0123456789abcdefghijABCDEFGHIJ012345", None),
        ("DATABASE_URL", "postgresql://postgres:postgres@host/db", set()),
        ("MLFLOW_TRACKING_URI", "postgresql+psycopg2://mlflow@host/db", set()),
        ("MODEL_KEY", "s3://bucket/models/2024/model.bin", set()),
    ],
)
def test_secrets_within_variables(name: str, value: str, secrets: set[str] | None) -> None:
    found = environment_secrets(environ={name: value})
    if secrets == set():
        assert found == ()
    else:
        assert ({value} if secrets is None else secrets) <= {*found}
        assert not {"mlflow", "https://"} & {*found}


PARAMS = """
    password password_prod db_password_staging passwordOld secret_value client_secret token
    token_prod api_token auth_token session_token hf_token githubtoken github_pat jwt id_jwt Cookie
    Set-Cookie cookies Authorization X-Api-Key X-Auth-Token api_key openai_key master_key
    encryption_key ssh_key deploy_key signing_key fernet_key private_key credentials passphrase
    AccountKey SharedAccessKey access_tokens
"""
NO_PARAMS = """
    time_per_output_token cost_per_input_token class_token dist_token visual_token eot_token
    fim_token think_token separator_token prefix_token
    tokens max_tokens max_new_tokens tokenizer token_count token_type token_dropout
    token_embedding_dim token_ids num_tokens pad_token pad_token_id padtoken bos_token mask_token
    time_per_token subtoken key keys primary_key sort_key label_key target_key cache_key
    feature_keys keyboard keyword monkey password_length password_policy secretary n_secrets
    cookie_count cookiecutter pat patience path batch_key public_key auth author passes
    forward_pass private webhook dsn sas prod test value
"""


@pytest.mark.parametrize("name", PARAMS.split())
def test_params_that_are_secrets(name: str) -> None:
    assert SecretNames()(name)


@pytest.mark.parametrize("name", NO_PARAMS.split())
def test_params_that_are_no_secrets(name: str) -> None:
    assert not SecretNames()(name)


def test_names_of_ones_own_hold_for_variables() -> None:
    names = SecretNames.parse(["*_pin", "!npm_token"])
    environ = {"CARD_PIN": OPAQUE, "NPM_TOKEN": WORD, "HF_TOKEN": "hf"}
    assert environment_secrets(names, environ) == (OPAQUE,)
