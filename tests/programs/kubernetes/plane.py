"""A real control plane of Kubernetes on loopback: etcd, kube-apiserver and kube-controller-manager, with
certificates and keys of its own, roles, webhooks by endpoints, and tokens of service accounts. It is
run in namespaces of its own (network, processes), which end with it."""

import http.client
import json
import os
import ssl
import subprocess
import time

URL = "https://127.0.0.1:6443"
ETCD = "http://127.0.0.1:2379"


class Refused(Exception):
    """What the API server answers, as a Status."""

    def __init__(self, code, status):
        super().__init__(f"{code} {status.get('message', status)}")
        self.code = code


class Plane:
    def __init__(self, directory):
        self.dir = directory
        self.running = {}
        self._keys()
        self.context = ssl.create_default_context(cafile=self.path("ca.crt"))
        self.context.load_cert_chain(self.path("admin.crt"), self.path("admin.key"))

    def path(self, name):
        return os.path.join(self.dir, name)

    def _keys(self):
        def openssl(*args):
            subprocess.run(["openssl", *args], check=True, cwd=self.dir, stderr=subprocess.DEVNULL)

        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=trial")
        for name, subject, of in [
            ("apiserver", "/CN=kube-apiserver", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
            ("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth\n"),
            ("manager", "/CN=system:kube-controller-manager", "extendedKeyUsage=clientAuth\n"),
        ]:
            with open(self.path(f"{name}.ext"), "w") as file:
                file.write(of)
            openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", "2", "-out", f"{name}.crt", "-extfile", f"{name}.ext")
        openssl("genrsa", "-out", "accounts.key", "2048")
        openssl("rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")
        for name in ["admin", "manager"]:
            with open(self.path(f"{name}.kubeconfig"), "w") as file:
                json.dump({
                    "apiVersion": "v1", "kind": "Config", "current-context": "t",
                    "clusters": [{"name": "t", "cluster": {"server": URL, "certificate-authority": self.path("ca.crt")}}],
                    "users": [{"name": "t", "user": {"client-certificate": self.path(f"{name}.crt"),
                                                     "client-key": self.path(f"{name}.key")}}],
                    "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
                }, file)

    def _start(self, name, program, *flags):
        log = open(self.path(f"{name}.log"), "a")
        self.running[name] = subprocess.Popen([program, *flags], cwd=self.dir, stdout=log, stderr=log)

    def start(self):
        self._start(
            "etcd", os.environ["HEDDLE_ETCD"], "--data-dir=etcd", f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}", "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync")
        self.start_api()
        self._start(
            "manager", os.environ["HEDDLE_KUBE_CONTROLLER_MANAGER"], "--kubeconfig=manager.kubeconfig",
            "--bind-address=127.0.0.1", "--leader-elect=false", "--service-account-private-key-file=accounts.key",
            "--root-ca-file=ca.crt", "--use-service-account-credentials=true",
            # Nothing here tells of the node's health.
            "--controllers=*,-nodelifecycle,-nodeipam,-attachdetach,-persistentvolume-binder")

    def start_api(self):
        self._start(
            "apiserver", os.environ["HEDDLE_KUBE_APISERVER"], f"--etcd-servers={ETCD}", "--secure-port=6443",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16", f"--service-account-issuer={URL}",
            f"--service-account-jwks-uri={URL}/openid/v1/jwks", "--service-account-signing-key-file=accounts.key",
            "--service-account-key-file=accounts.pub", "--api-audiences=https://kubernetes.default.svc",
            "--authorization-mode=RBAC", "--client-ca-file=ca.crt", "--tls-cert-file=apiserver.crt",
            "--tls-private-key-file=apiserver.key", "--allow-privileged=true", "--enable-aggregator-routing=true")
        self.until("the API server is ready", lambda: self.get("/readyz") is not None, 120)

    def restart_api(self):
        # As a crash does it: asked to end, it waits for every watch.
        process = self.running.pop("apiserver")
        process.kill()
        process.wait(60)
        self.start_api()

    def ask(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=self.context, timeout=20)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        try:
            value = json.loads(text)
        except ValueError:
            value = {"message": text}
        if answer.status >= 300:
            raise Refused(answer.status, value)
        return value

    def get(self, path):
        """None: there is none, or nobody answers."""
        try:
            return self.ask("GET", path)
        except (OSError, http.client.HTTPException):
            return None
        except Refused as refused:
            if refused.code in (403, 404, 429, 500, 503):
                return None
            raise

    def items(self, path):
        return (self.get(path) or {}).get("items", [])

    def minor(self):
        return int(self.ask("GET", "/version")["gitVersion"].split(".")[1])

    def kubectl(self, *args, text=None, fails=False):
        """What it prints, on both of its outputs."""
        command = [os.environ.get("HEDDLE_KUBECTL", "kubectl"), "--kubeconfig", self.path("admin.kubeconfig"), *args]
        done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=dict(os.environ, HOME=self.dir))
        assert fails == (done.returncode != 0), f"kubectl {args}: {done.returncode}\n{done.stdout}"
        return done.stdout

    @staticmethod
    def until(what, holds, seconds=90):
        end = time.monotonic() + seconds
        while True:
            found = holds()
            if found:
                return found
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.2)
