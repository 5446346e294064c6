"""Logs in with the methods that hvac knows, as programs do."""
import os

import hvac

env = os.environ
client = hvac.Client(url=env["VAULT_ADDR"], token=env["VAULT_TOKEN"])


def fails(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except hvac.exceptions.VaultError:
        return
    raise AssertionError("a login that must be refused was granted")


def holds(answer, *policies):
    got = answer["auth"]["policies"]
    assert got == sorted(policies), got


# kubernetes
client.sys.enable_auth_method("kubernetes")
kubernetes = client.auth.kubernetes
kubernetes.configure(env["K8S_HOST"], kubernetes_ca_cert=env["K8S_CA"], token_reviewer_jwt=env["K8S_REVIEWER"])
assert kubernetes.read_config()["kubernetes_host"] == env["K8S_HOST"]
kubernetes.create_role("web", bound_service_account_names=["web"], bound_service_account_namespaces=["apps"], policies=["web"], ttl="1h")
assert kubernetes.list_roles()["keys"] == ["web"]
assert kubernetes.read_role("web")["bound_service_account_names"] == ["web"]
holds(kubernetes.login("web", env["K8S_POD"], use_token=False), "default", "web")
fails(kubernetes.login, "web", env["K8S_REVIEWER"], use_token=False)
kubernetes.delete_role("web")

# jwt
client.sys.enable_auth_method("jwt")
client.auth.jwt.configure(jwt_validation_pubkeys=[env["JWT_KEY"]], default_role="ci")
assert client.auth.jwt.read_config()["data"]["default_role"] == "ci"
client.auth.jwt.create_role("ci", role_type="jwt", user_claim="sub", bound_audiences=["coffer"], allowed_redirect_uris=[], token_policies=["ci"])
assert client.auth.jwt.list_roles()["data"]["keys"] == ["ci"]
holds(client.auth.jwt.jwt_login("ci", env["JWT"], use_token=False), "ci", "default")
fails(client.auth.jwt.jwt_login, "ci", env["JWT"] + "x", use_token=False)

# ldap
client.sys.enable_auth_method("ldap")
ldap = client.auth.ldap
ldap.configure(url=env["LDAP_URL"], user_dn=env["USERS"], user_attr="uid", group_dn=env["GROUPS_DN"], group_filter="(member={{.UserDN}})", bind_dn=env["BIND_DN"], bind_pass=env["BIND_PW"])
assert ldap.read_configuration()["data"]["userattr"] == "uid"
ldap.create_or_update_group("engineers", policies=["eng"])
ldap.create_or_update_user("alice", policies=["own"])
assert ldap.list_groups()["data"]["keys"] == ["engineers"]
assert ldap.read_user("alice")["data"]["policies"] == ["own"]
holds(ldap.login("alice", "alicepw", use_token=False), "default", "eng", "own")
fails(ldap.login, "alice", "wrong", use_token=False)
ldap.delete_user("alice")
ldap.delete_group("engineers")
