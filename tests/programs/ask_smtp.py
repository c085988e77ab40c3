"""Mail, plain and after STARTTLS. The server speaks first, and the client must not be kept waiting."""

import smtplib
import ssl

PATIENCE = 8
LARGE = "Subject: large\r\n\r\n" + "a line of a letter\r\n" * 100_000


def send(client, body):
    print("from:", client.mail("me@example.com"), "to:", client.rcpt("you@example.com"), "to:", client.rcpt("nobody@example.com"))
    print("data:", client.data(body))


client = smtplib.SMTP(timeout=PATIENCE, local_hostname="client")
print("greeting:", client.connect("smtp", 2525))
print("ehlo:", client.ehlo())
send(client, "Subject: small\r\n\r\nhello\r\n.\r\n..")
send(client, LARGE)
print("quit:", client.quit())

client = smtplib.SMTP("smtp", 2525, timeout=PATIENCE, local_hostname="client")
print("starttls:", client.starttls(context=ssl.create_default_context(cafile="/run/tls/cert.pem")), client.sock.version())
print("ehlo:", client.ehlo())
send(client, LARGE)
print("a command that it does not know:", client.docmd("XYZZY"))
print("quit:", client.quit())
