"""The installation in a real control plane of Kubernetes, from `kubectl apply` to `heddle uninstall`. Run
by the test `kubernetes`, in namespaces of its own; HEDDLE_ETCD, HEDDLE_KUBE_APISERVER,
HEDDLE_KUBE_CONTROLLER_MANAGER and HEDDLE_KUBECTL are the programs, HEDDLE_PROGRAMS the directory of ours."""

import json
import os
import re
import subprocess
import sys

from node import SYSTEM, Node
from plane import Plane

HERE = os.path.dirname(os.path.abspath(__file__))
SHOP = "/api/v1/namespaces/shop"
GATEWAY = "gateway.networking.k8s.io"


def step(what):
    print(f"--- {what}", flush=True)


class Trial:
    def __init__(self, directory):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self.plane = Plane(directory)
        self.plane.start()
        self.minor = self.plane.minor()
        self.is_old = self.minor < 29
        print(f"Kubernetes 1.{self.minor}", flush=True)
        if self.is_old:
            print("*** older than what is supported: matchConditions and policy/v1 are not tried, and sidecars are "
                  "no native ones", flush=True)
            # Newer ones do so by themselves.
            for name in ["default", "kube-system", "kube-public", "kube-node-lease"]:
                self.plane.kubectl("label", "namespace", name, f"kubernetes.io/metadata.name={name}")
        self.plane.until("default's account", lambda: self.plane.get("/api/v1/namespaces/default/serviceaccounts/default"))
        self.node = Node(self.plane)
        self.node.start()

    def until(self, what, holds, seconds=90):
        def looked():
            if self.node.failure:
                raise self.node.failure
            return holds()
        return self.plane.until(what, looked, seconds)

    def heddle(self, *args, fails=False):
        env = dict(os.environ, KUBECONFIG=self.plane.path("admin.kubeconfig"))
        done = subprocess.run([os.path.join(os.environ["HEDDLE_PROGRAMS"], "heddle"), *args], env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert fails == (done.returncode != 0), f"heddle {args}: {done.stdout}{done.stderr}"
        return done.stdout

    def printed(self, command):
        """What is installed or removed, in the words of this server."""
        args = ["--native-sidecars=false"] if self.is_old and command == "install" else []
        text = self.heddle(command, *args)
        if self.is_old:
            text = text.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n")
            text = re.sub(r"(?m)^  matchConditions:\n(?:  - .*\n(?:    .*\n)*)+", "", text)
        return text

    def check(self):
        """Codes of what is wrong."""
        report = json.loads(self.heddle("check", "--cluster", "-o", "json", fails=self.is_old))
        found = {one["code"]: one for one in report["findings"] if one["severity"] != "note"}
        assert self.is_old == ("HDL0901" in found), found
        found.pop("HDL0901", None)
        return found

    def events(self, namespace, reason):
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        return [one for one in self.plane.items(path) if one.get("reason") == reason]

    def pods(self, app):
        return self.plane.items(f"{SHOP}/pods?labelSelector=app%3D{app}")

    @staticmethod
    def is_injected(pod):
        spec = pod["spec"]
        return any(one["name"] == "heddle-proxy" for one in spec["containers"] + spec.get("initContainers", []))

    def install(self):
        step("the installation is taken, and taken again without a difference")
        self.plane.kubectl("apply", "--server-side", "-f", "-", text=self.printed("install"))
        self.plane.kubectl("diff", "--server-side", "-f", "-", text=self.printed("install"))
        if self.is_old:
            self.plane.kubectl("label", "namespace", SYSTEM, f"kubernetes.io/metadata.name={SYSTEM}", "--overwrite")

        def ready():
            path = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments"
            parts = [one.get("status", {}).get("readyReplicas", 0) for one in self.plane.items(path)]
            return parts == [2, 2, 2]
        self.until("our parts are ready", ready, 180)
        step("heddle check --cluster finds nothing wrong; the API server calls the webhook")
        self.until("nothing is wrong", lambda: not self.check())

    def inject(self):
        step("pods of every owner are injected, once")
        said = self.plane.kubectl("apply", "-f", os.path.join(HERE, "objects.yaml"))
        assert "Error" not in said, said
        for app, count in [("reviews", 2), ("once", 1), ("db", 1), ("agent", 1)]:
            pods = self.until(f"pods of {app}", lambda: len(self.pods(app)) == count and self.pods(app))
            assert all(self.is_injected(pod) == (app != "agent") for pod in pods), pods
        version = "v1beta1" if self.minor < 21 else "v1"
        slices = f"/apis/discovery.k8s.io/{version}/namespaces/shop/endpointslices"
        ends = lambda: [end for one in self.plane.items(slices) for end in one.get("endpoints") or []]
        self.until("two endpoints", lambda: len(ends()) == 2)
        step("a skip has an Event, a bad value a reason")
        skipped = self.until("the Event", lambda: self.events("shop", "InjectionSkipped"))
        assert "hostNetwork" in skipped[0]["note"] and skipped[0]["regarding"]["kind"] == "DaemonSet", skipped
        bad = {"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": "bad", "namespace": "shop", "annotations": {"sidecar.istio.io/proxyCPU": "lots"}},
               "spec": {"containers": [{"name": "app", "image": "x"}]}}
        said = self.plane.kubectl("create", "-f", "-", text=json.dumps(bad), fails=True)
        assert "sidecar.istio.io/proxyCPU" in said and '"lots"' in said and "allowed: a quantity" in said, said

    def sidecar(self):
        step("a sidecar has its certificate for a pod's token, and is ready")
        pod = self.pods("reviews")[0]
        name, ip = pod["metadata"]["name"], pod["status"]["podIP"]
        of = lambda part: next(one.ip for one in self.node.pods.values() if one.name.startswith(part + "-"))
        directory = self.plane.path("sidecar")
        os.makedirs(os.path.join(directory, "state"))
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod["metadata"]["uid"]}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                 "spec": {"audiences": ["heddle"], "boundObjectRef": bound, "expirationSeconds": 3600}}
        token = self.plane.ask("POST", f"{SHOP}/serviceaccounts/reviews/token", asked)["status"]["token"]
        roots = self.plane.ask("GET", f"{SHOP}/configmaps/heddle-trust-bundle")["data"]["root-cert.pem"]
        for file, text in [("token", token), ("root-cert.pem", roots)]:
            with open(os.path.join(directory, file), "w") as written:
                written.write(text)
        env = dict(
            os.environ, HEDDLE_POD_NAME=name, HEDDLE_POD_NAMESPACE="shop", HEDDLE_POD_IP=ip,
            HEDDLE_SERVICE_ACCOUNT="reviews", HEDDLE_CONTROL_ADDRESS=f"{of('heddle-control')}:15012",
            HEDDLE_IDENTITY_ADDRESS=f"{of('heddle-identity')}:15013", HEDDLE_TOKEN_FILE=f"{directory}/token",
            HEDDLE_TRUST_BUNDLE_FILE=f"{directory}/root-cert.pem", HEDDLE_STATE_DIR=f"{directory}/state",
            HEDDLE_WORKERS="1", HEDDLE_DNS_CAPTURE="false")
        log = open(self.plane.path("sidecar.log"), "w")
        program = os.path.join(os.environ["HEDDLE_PROGRAMS"], "heddle-proxy")
        proxy = subprocess.Popen([program, "run"], env=env, stdout=log, stderr=log)
        ask = ["curl", "--silent", "--fail", "--max-time", "2", "http://127.0.0.1:15021/healthz/ready"]
        self.until("the sidecar is ready", lambda: subprocess.run(ask, stdout=subprocess.DEVNULL).returncode == 0)
        proxy.terminate()
        proxy.wait(60)

    def definitions(self):
        """As Gateway API's own, as far as a status is concerned."""
        text = lambda **more: {"type": "string", **more}
        thing = lambda required, **fields: {"type": "object", "required": required, "properties": fields}
        reference = thing(["name"], group=text(default=GATEWAY, maxLength=253), name=text(minLength=1),
                          kind=text(default="Gateway", minLength=1), namespace=text(minLength=1),
                          sectionName=text(minLength=1), port={"type": "integer", "minimum": 1, "maximum": 65535})
        condition = thing(["lastTransitionTime", "message", "reason", "status", "type"],
                          lastTransitionTime=text(format="date-time"), message=text(maxLength=32768),
                          observedGeneration={"type": "integer", "minimum": 0}, type=text(maxLength=316),
                          reason=text(pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
                          status=text(enum=["True", "False", "Unknown"]))
        conditions = {"type": "array", "items": condition, "minItems": 1, "maxItems": 8,
                      "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        parent = thing(["parentRef", "controllerName", "conditions"], parentRef=reference, controllerName=text(),
                       conditions=conditions)
        parents = {"type": "array", "items": parent, "maxItems": 32, "x-kubernetes-list-type": "atomic"}
        spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = thing(["spec"], spec=spec, status=thing(["parents"], parents=parents))
        version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                   "schema": {"openAPIV3Schema": schema}}
        names = {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute", "listKind": "HTTPRouteList"}
        return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": f"httproutes.{GATEWAY}",
                             "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"}},
                "spec": {"group": GATEWAY, "names": names, "scope": "Namespaced", "versions": [version]}}

    def put_route(self, port):
        parent = {"group": "", "kind": "Service", "name": "reviews"}
        route = {"apiVersion": f"{GATEWAY}/v1", "kind": "HTTPRoute", "metadata": {"name": "reviews", "namespace": "shop"},
                 "spec": {"parentRefs": [parent], "rules": [{"backendRefs": [{"name": "reviews", "port": port}]}]}}
        self.plane.kubectl("apply", "-f", "-", text=json.dumps(route))

    def status(self, kind):
        route = self.plane.get(f"/apis/{GATEWAY}/v1/namespaces/shop/httproutes/reviews") or {}
        parents = route.get("status", {}).get("parents", [])
        found = [one for parent in parents for one in parent["conditions"] if one["type"] == kind]
        current = [one for one in found if one["observedGeneration"] == route["metadata"]["generation"]]
        return current[0]["status"] if current else None

    def routes(self):
        step("a mistake is refused by kubectl apply, with the reason and what to write")
        service = lambda http: json.dumps({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "reviews", "namespace": "shop"}, "spec": {"hosts": ["reviews"], "http": http}})
        said = self.plane.kubectl("apply", "-f", "-", text=service([{"rout": []}]), fails=True)
        for part in ["unknown field `rout` in spec.http[0]", "did you mean `route`?", "HDL0010", "heddle.io"]:
            assert part in said, said
        good = [{"route": [{"destination": {"host": "reviews"}}]}]
        self.plane.kubectl("apply", "-f", "-", text=service(good))
        early = service([{"route": [{"destination": {"host": "nobody"}}]}]).replace('"name": "reviews"', '"name": "early"')
        said = self.plane.kubectl("apply", "-f", "-", text=early)
        assert "Warning" in said and "no service shop/nobody" in said, said
        self.until("an Event of a refusal", lambda: self.events("shop", "Refused"))
        step("status is written to a kind that comes later, and follows the generation")
        self.plane.kubectl("apply", "-f", "-", text=json.dumps(self.definitions()))
        self.plane.kubectl("wait", "--for=condition=Established", f"crd/httproutes.{GATEWAY}", "--timeout=60s")
        self.put_route(9080)
        self.until("it is accepted", lambda: self.status("ResolvedRefs") == "True")
        self.put_route(1)
        self.until("there is no such port", lambda: self.status("ResolvedRefs") == "False")

    def lease(self):
        step("the Lease is given on when its holder is deleted")
        path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/heddle-control"
        holder = lambda: (self.plane.get(path) or {}).get("spec", {}).get("holderIdentity")
        first = self.until("somebody holds it", holder)
        self.plane.kubectl("-n", SYSTEM, "delete", "pod", first)
        self.until("another holds it", lambda: holder() not in (None, first))
        self.put_route(9080)
        self.until("status goes on", lambda: self.status("ResolvedRefs") == "True")

    def restart(self):
        step("a restart of the API server is survived")
        self.plane.restart_api()
        later = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later", "labels": {"heddle.io/inject": "enabled"}}}
        self.plane.kubectl("apply", "-f", "-", text=json.dumps(later))
        self.put_route(2)
        self.until("status goes on", lambda: self.status("ResolvedRefs") == "False")
        self.until("the trust bundle in a new namespace",
                   lambda: self.plane.get("/api/v1/namespaces/later/configmaps/heddle-trust-bundle"))
        self.until("its account", lambda: self.plane.get("/api/v1/namespaces/later/serviceaccounts/default"))
        self.plane.kubectl("-n", "later", "run", "web", "--image=x")
        assert self.is_injected(self.plane.ask("GET", "/api/v1/namespaces/later/pods/web"))

    def uninstall(self):
        step("nothing stays but the root and the trust bundles")
        self.plane.kubectl("delete", "--ignore-not-found", "-f", "-", text=self.printed("uninstall"))
        self.until("our pods are gone", lambda: not self.plane.items(f"/api/v1/namespaces/{SYSTEM}/pods"))
        of = lambda kind, *where: [name for name in self.plane.kubectl("get", kind, "-o", "name", *where).split()
                                   if "heddle" in name]
        for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations", "clusterroles",
                     "clusterrolebindings"]:
            assert of(kind) == [], of(kind)
        for kind in ["deployments", "services", "serviceaccounts", "roles", "rolebindings", "leases", "networkpolicies"]:
            assert of(kind, "-n", SYSTEM) == [], of(kind, "-n", SYSTEM)
        assert "secret/heddle-root" in of("secrets", "-n", SYSTEM)
        self.plane.kubectl("-n", "shop", "run", "after", "--image=x")
        assert not self.is_injected(self.plane.ask("GET", f"{SHOP}/pods/after"))


def main():
    trial = Trial(sys.argv[1])
    try:
        for part in [trial.install, trial.inject, trial.sidecar, trial.routes, trial.lease, trial.restart, trial.uninstall]:
            part()
    except BaseException:
        for root, _, files in os.walk(sys.argv[1]):
            for name in [name for name in files if name == "log" or name.endswith(".log")]:
                if name not in ("etcd.log", "apiserver.log", "manager.log"):
                    tail = open(os.path.join(root, name)).read()[-3000:]
                    print(f"=== {os.path.join(root, name)}\n{tail}", flush=True)
        raise
    print("the trial is passed", flush=True)


main()
