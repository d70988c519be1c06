"""What a submission may try: {what: code of a cell that holds no answer}."""

HOSTILE = {
    "forges the verdict": (
        "import sys, types\nfake = types.ModuleType('grader.toy')\nfake.grade = lambda *_: None\n"
        "sys.modules['grader'] = fake\nsys.modules['grader.toy'] = fake\n"
        "import seglab.classroom.answers as answers\n"
        "answers.answer = lambda *_: answers.Reply('[]')\n"
        "answers.run_cases = lambda *_: []\nraise SystemExit"),
    "replies with what is no result": (
        "import seglab.classroom.answers as answers\n"
        "answers.answer = lambda *_: answers.Reply('[[{\"dtype\": \"O\", \"shape\": [1], \"data\": \"\"}, null, \"\", "
        "null]]')"),
    "replies with what cannot be counted": (
        "import seglab.classroom.answers as answers\n"
        "answers.answer = lambda *_: answers.Reply('[[{\"value\": ' + '9' * 4000 + '}, null, \"\", null]]')"),
    "sends a message that is none": (
        "kernel = get_ipython().kernel\n"
        "kernel.session.send(kernel.iopub_socket, 'stream', {}, parent=kernel.get_parent())"),
    "sends messages without an end, and not that the cell has ended": (
        "import threading, time\nkernel = get_ipython().kernel\nkernel._publish_status = lambda *_, **__: None\n"
        "kernel._publish_status_and_flush = lambda *_, **__: None\nparent = kernel.get_parent()\n"
        "def send():\n    while True:\n        kernel.session.send(kernel.iopub_socket, 'stream', "
        "{'name': 'stdout', 'text': 'x'}, parent=parent)\n        time.sleep(0.05)\n"
        "threading.Thread(target=send, daemon=True).start()"),
    # Their path is longer than the system allows, and they are more than Python calls functions in functions.
    "makes folders in folders": "import os\nfor _ in range(2200):\n    os.mkdir('d')\n    os.chdir('d')",
    "marks its own cell as a hidden test": "# BEGIN HIDDEN TESTS\nassert double\n# END HIDDEN TESTS",
    "ends the kernel": "import os\nos._exit(0)",
    "prints without an end": "for i in range(300_000):\n    print('x' * 400)",
    "takes all memory": "held = []\nwhile True:\n    held.append(bytearray(200_000_000))",
    "leaves the time": "while True:\n    pass",
    "starts processes": "import subprocess, sys\nfor _ in range(20):\n    subprocess.Popen([sys.executable, '-c', "
                        "'import time; time.sleep(600)'])\nraise ValueError",
}

#: The same, for systems that can end all processes of a submission at once.
GREEDY = {
    "starts processes without an end": "import os\nwhile True:\n    os.fork()",
    "takes memory in many processes": (
        "import os, time\nfor _ in range(9):\n    if os.fork() == 0:\n"
        "        held = bytearray(b'x') * 1_500_000_000\n        time.sleep(60)\ntime.sleep(60)"),
    "takes memory that no process has": (
        "import os\nfor number in range(12):\n    file = os.memfd_create('x')\n    for _ in range(4):\n"
        "        os.write(file, b'x' * 100_000_000)"),
    "fills the disk": (  # with files that have no name any more
        "import os\nheld = []\nfor number in range(100):\n    with open('large', 'wb') as file:\n"
        "        held.append(os.dup(file.fileno()))\n        os.remove('large')\n        for _ in range(40):\n"
        "            file.write(b'x' * 10_000_000)"),
}

#: {what: code that must not succeed; if it does, the test that runs it sees it}. PLACE is a file outside of the folder.
CURIOUS = {
    "opens a socket": "import socket\nsocket.create_connection(('127.0.0.1', 22), 2)\nopen('PLACE', 'w').write('x')",
    "writes outside its folder": "open('PLACE', 'w').write('x')",
    "reads the hidden tests": "import pathlib\ntext = pathlib.Path('GRADER').read_text()\n"
                              "open('PLACE', 'w').write(text)",
}
