# Carries frames between each link and its near end; those towards the pod (near end to link) are late, and
# some are lost. Frames pass with their virtio header, so that neither checksums nor segments are
# anybody's business here. Ends with its standard input.
import heapq, random, select, socket, sys, time

SOL_PACKET, VNET_HDR, IGNORE_OUTGOING, ALL = 263, 15, 23, 3


def raw(link):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(SOL_PACKET, VNET_HDR, 1)
    s.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
    s.setblocking(False)
    s.bind((link, ALL))
    return s


def send(s, frame):
    try:
        s.send(frame)
    except OSError:
        pass  # A full or vanished link loses packets: that is what this is for.


loss, delay = float(sys.argv[1]), float(sys.argv[2])
poll, peers = select.poll(), {}
for index, link in enumerate(sys.argv[3:]):
    pod, near = raw(link), raw(f"near{index}")
    peers[pod.fileno()] = (pod, near, False)
    peers[near.fileno()] = (near, pod, True)
for fd in peers:
    poll.register(fd, select.POLLIN)
poll.register(sys.stdin, select.POLLIN)
late, order = [], 0
print("ready", flush=True)
while True:
    wait = max(0, (late[0][0] - time.monotonic()) * 1000) if late else None
    for fd, _ in poll.poll(wait):
        if fd not in peers:
            sys.exit()
        source, target, towards_pod = peers[fd]
        for _ in range(64):
            try:
                frame = source.recv(1 << 17)
            except OSError:
                break
            if not towards_pod:
                send(target, frame)
            elif random.random() >= loss:
                order += 1
                heapq.heappush(late, (time.monotonic() + delay, order, target, frame))
    while late and late[0][0] <= time.monotonic():
        _, _, target, frame = heapq.heappop(late)
        send(target, frame)
