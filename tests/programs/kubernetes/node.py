"""A tiny kubelet. Pods of heddle-system run as processes of this machine, with the arguments, tokens and
volumes that their Deployments say; every other pod is said to run. What is not done: images, probes but
readiness, limits, redirects."""

import copy
import datetime
import http.client
import os
import ssl
import subprocess
import threading
import time

from plane import Refused

SYSTEM = "heddle-system"
TOKENS = "run/secrets/kubernetes.io/serviceaccount"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pod:
    def __init__(self, node, object, ip):
        self.node, self.plane, self.ip = node, node.plane, ip
        self.name, self.namespace = object["metadata"]["name"], object["metadata"]["namespace"]
        self.uid, self.spec = object["metadata"]["uid"], object["spec"]
        self.dir = node.plane.path(f"pods/{self.namespace}_{self.name}")
        self.child, self.said = None, None
        os.makedirs(self.dir, exist_ok=True)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def url(self, part=""):
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}{part}"

    def token(self, source):
        bound = {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.uid}
        spec = {"boundObjectRef": bound, "expirationSeconds": source.get("expirationSeconds", 3600),
                "audiences": [source["audience"]] if "audience" in source else None}
        account = self.spec["serviceAccountName"]
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        return self.plane.ask("POST", path, asked)["status"]["token"]

    def write(self, path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path) or open(path).read() != text:
            with open(path + ".new", "w") as file:
                file.write(text)
            os.rename(path + ".new", path)

    def volumes(self):
        """Fills them; False: something that is mounted is not there yet."""
        for volume in self.spec.get("volumes", []):
            directory = self.path("volumes", volume["name"])
            os.makedirs(directory, exist_ok=True)
            for source in volume.get("projected", {}).get("sources", []):
                wanted = source.get("serviceAccountToken")
                if wanted and not os.path.exists(os.path.join(directory, wanted["path"])):
                    self.write(os.path.join(directory, wanted["path"]), self.token(wanted))
            if "configMap" in volume:
                name = volume["configMap"]["name"]
                found = self.plane.get(f"/api/v1/namespaces/{self.namespace}/configmaps/{name}")
                if found is None:
                    return False
                for key, text in found.get("data", {}).items():
                    self.write(os.path.join(directory, key), text)
        return True

    def start(self):
        container = self.spec["containers"][0]
        self.write(self.path(TOKENS, "token"), self.token({}))
        self.write(self.path(TOKENS, "ca.crt"), open(self.plane.path("ca.crt")).read())
        self.write(self.path(TOKENS, "namespace"), self.namespace)
        args, mounts = list(container.get("args", [])), []
        for mount in container.get("volumeMounts", []):
            inside = self.path("volumes", mount["name"])
            if mount["mountPath"].startswith("/var/run/secrets/kubernetes.io"):
                continue
            if mount["mountPath"].startswith("/var/run/"):
                target = self.path("run", mount["mountPath"].removeprefix("/var/run/"))
                os.makedirs(target, exist_ok=True)
                mounts.append(f"mount --bind '{inside}' '{target}'")
            else:
                args = [arg.replace(mount["mountPath"], inside) for arg in args]
        # Pods share one network here, and nobody answers for names.
        args = [arg.replace("=0.0.0.0:", f"={self.ip}:") for arg in args]
        args = [arg.replace(f"heddle-identity.{SYSTEM}.svc:", f"{self.node.identity()}:") for arg in args]
        script = [f"hostname {self.name}", *mounts, f"mount --rbind '{self.path('run')}' /run", 'exec "$@"']
        env = dict(os.environ, KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT="6443",
                   HOSTNAME=self.name, HEDDLE_ADMIN_LISTEN=f"{self.ip}:15014")
        env.pop("KUBECONFIG", None)
        log = open(self.path("log"), "a")
        program = os.path.join(os.environ["HEDDLE_PROGRAMS"], container["name"])
        unshare = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", " && ".join(script), "sh"]
        self.child = subprocess.Popen([*unshare, program, *args], env=env, stdout=log, stderr=log)

    def is_ready(self):
        probe = self.spec["containers"][0].get("readinessProbe", {}).get("httpGet")
        if self.namespace != SYSTEM or probe is None:
            return True
        if probe.get("scheme") == "HTTPS":
            unchecked = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(self.ip, probe["port"], context=unchecked, timeout=3)
        else:
            connection = http.client.HTTPConnection(self.ip, probe["port"], timeout=3)
        try:
            connection.request("GET", probe["path"])
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def say(self, is_ready):
        if self.said == is_ready:
            return
        condition = lambda kind, holds: {"type": kind, "status": str(holds), "lastTransitionTime": now()}
        running = {"running": {"startedAt": now()}}
        containers = [{"name": one["name"], "image": one["image"], "imageID": one["image"], "restartCount": 0,
                       "ready": is_ready, "state": running} for one in self.spec["containers"]]
        status = {"phase": "Running", "podIP": self.ip, "podIPs": [{"ip": self.ip}], "startTime": now(),
                  "conditions": [condition("PodScheduled", True), condition("Initialized", True),
                                 condition("ContainersReady", is_ready), condition("Ready", is_ready)],
                  "containerStatuses": containers}
        self.plane.ask("PATCH", self.url("/status"), {"status": status}, "application/strategic-merge-patch+json")
        self.said = is_ready

    def end(self):
        if self.child is not None:
            self.child.terminate()
            self.child.wait(60)
            self.child = None
        subprocess.run(["ip", "address", "del", f"{self.ip}/32", "dev", "lo"], check=True)

    def step(self):
        if self.namespace == SYSTEM:
            if not self.volumes() or (self.node.identity() is None and "identity" not in self.name):
                return
            if self.child is None:
                self.start()
            assert self.child.poll() is None, f"{self.name} ended: {open(self.path('log')).read()}"
        self.say(self.is_ready())


class Node(threading.Thread):
    def __init__(self, plane):
        super().__init__(daemon=True)
        self.plane, self.pods, self.failure = plane, {}, None
        subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
        labels = {"kubernetes.io/hostname": "node-1", "topology.kubernetes.io/zone": "z1"}
        plane.ask("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node",
                                            "metadata": {"name": "node-1", "labels": labels}})
        node = copy.deepcopy(plane.ask("GET", "/api/v1/nodes/node-1"))
        # What its health is nobody tells, so it is not held against it.
        node["spec"].pop("taints", None)
        plane.ask("PUT", "/api/v1/nodes/node-1", node)

    def identity(self):
        of = [pod.ip for pod in self.pods.values() if pod.name.startswith("heddle-identity-")]
        return next(iter(of), None)

    def run(self):
        number = 10
        while True:
            time.sleep(0.3)
            listed = self.plane.get("/api/v1/pods")
            if listed is None:
                continue
            try:
                there = {one["metadata"]["uid"]: one for one in listed["items"]}
                for uid in [uid for uid in self.pods if uid not in there]:
                    self.pods.pop(uid).end()
                for uid, object in there.items():
                    if object["metadata"].get("deletionTimestamp"):
                        if uid in self.pods:
                            self.pods.pop(uid).end()
                        path = f"/api/v1/namespaces/{object['metadata']['namespace']}/pods/{object['metadata']['name']}"
                        self.plane.ask("DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions",
                                                        "gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
                        continue
                    if uid not in self.pods:
                        number += 1
                        self.pods[uid] = Pod(self, object, f"192.0.2.{number}")
                        subprocess.run(["ip", "address", "add", f"192.0.2.{number}/32", "dev", "lo"], check=True)
                    pod = self.pods[uid]
                    if not object["spec"].get("nodeName"):
                        target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
                        self.plane.ask("POST", pod.url("/binding"), {"apiVersion": "v1", "kind": "Binding",
                                                                     "metadata": {"name": pod.name}, "target": target})
                    pod.step()
            # Away, or it changed meanwhile: the next look shows.
            except (OSError, http.client.HTTPException, Refused):
                pass
            except Exception as error:  # The test tells of it.
                self.failure = error
                return
