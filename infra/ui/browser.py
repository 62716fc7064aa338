"""A Chromium that is driven over two pipes, with nothing but Python's own library."""

import base64
import json
import os
import select
import subprocess
import time


class Browser:
    """One Chromium with one page. What goes wrong on the page is gathered in `troubles`."""

    def __init__(self, program, folder):
        to_read, self.to_write = os.pipe()
        self.to_hear, from_write = os.pipe()

        def own_pipes():
            # Chromium reads from 3 and writes to 4.
            os.dup2(to_read, 30)
            os.dup2(from_write, 31)
            os.dup2(30, 3)
            os.dup2(31, 4)

        arguments = [program, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--no-first-run',
                     '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update',
                     f'--user-data-dir={folder}/profile', '--remote-debugging-pipe', 'about:blank']
        with open(f'{folder}/chromium.log', 'wb') as log:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=own_pipes, close_fds=False)
        os.close(to_read)
        os.close(from_write)
        self.heard = b''
        self.number = 0
        self.troubles = []
        self.requests = []
        self.loaded = 0
        self.session = None
        target = next(one for one in self.ask('Target.getTargets')['targetInfos'] if one['type'] == 'page')
        self.session = self.ask('Target.attachToTarget', targetId=target['targetId'], flatten=True)['sessionId']
        for domain in ['Page', 'Runtime', 'Network', 'Log']:
            self.ask(f'{domain}.enable')

    def ask(self, method, **parameters):
        """Asks Chromium for something, and gives its answer."""
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': parameters}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.to_write, json.dumps(message).encode() + b'\0')
        wanted = self.number
        while True:
            heard = self.hear(30)
            if heard is None:
                raise RuntimeError(f'the browser did not answer {method}')
            if heard.get('id') == wanted:
                if 'error' in heard:
                    raise RuntimeError(f'{method}: {heard["error"]["message"]}')
                return heard['result']

    def hear(self, seconds):
        """The next message, with what it says of troubles noted; none if there is none for so long."""
        end = time.monotonic() + seconds
        while b'\0' not in self.heard:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.to_hear], [], [], left)[0]:
                return None
            more = os.read(self.to_hear, 1 << 20)
            if not more:
                raise RuntimeError('the browser has ended')
            self.heard += more
        message, self.heard = self.heard.split(b'\0', 1)
        message = json.loads(message)
        self.note(message.get('method'), message.get('params', {}))
        return message

    def note(self, event, told):
        if event == 'Page.loadEventFired':
            self.loaded += 1
        elif event == 'Network.requestWillBeSent':
            self.requests.append(told['request']['url'])
        elif event == 'Runtime.exceptionThrown':
            self.troubles.append('a script failed: ' + json.dumps(told['exceptionDetails'])[:400])
        elif event == 'Log.entryAdded' and told['entry']['level'] == 'error':
            self.troubles.append(f'{told["entry"]["text"]} {told["entry"].get("url", "")}')
        elif event == 'Page.javascriptDialogOpening':
            self.troubles.append(f'a dialog was opened: {told["message"]}')
            self.number += 1
            dismiss = {'id': self.number, 'method': 'Page.handleJavaScriptDialog', 'params': {'accept': False},
                       'sessionId': self.session}
            os.write(self.to_write, json.dumps(dismiss).encode() + b'\0')

    def go(self, address):
        """Loads a page."""
        before = self.loaded
        self.ask('Page.navigate', url=address)
        self.wait(lambda: self.loaded > before, f'{address} was not loaded')

    def wait(self, holds, otherwise, seconds=20):
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise RuntimeError(otherwise)
            self.hear(0.1)

    def run(self, script):
        """The value of a script on the page."""
        result = self.ask('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
        if 'exceptionDetails' in result:
            raise RuntimeError(json.dumps(result['exceptionDetails'])[:600])
        return result['result'].get('value')

    def click(self, selector):
        """Clicks on something that leads to another page."""
        before = self.loaded
        where = self.run(f'''(() => {{ const one = document.querySelector({json.dumps(selector)});
            one.scrollIntoView({{block: "center"}}); const box = one.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]; }})()''')
        for kind in ['mousePressed', 'mouseReleased']:
            self.ask('Input.dispatchMouseEvent', type=kind, x=where[0], y=where[1], button='left', clickCount=1)
        self.wait(lambda: self.loaded > before, f'a click on {selector} leads nowhere')

    def key(self, key, code, number, text=None):
        down = {'text': text} if text else {}
        self.ask('Input.dispatchKeyEvent', type='keyDown', key=key, code=code, windowsVirtualKeyCode=number, **down)
        self.ask('Input.dispatchKeyEvent', type='keyUp', key=key, code=code, windowsVirtualKeyCode=number)

    def screen(self, width, height, scheme, calm=False):
        self.ask('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{'name': 'prefers-color-scheme', 'value': scheme},
                    {'name': 'prefers-reduced-motion', 'value': 'reduce' if calm else 'no-preference'}]
        self.ask('Emulation.setEmulatedMedia', features=features)

    def picture(self, path, whole=False):
        data = self.ask('Page.captureScreenshot', format='png', captureBeyondViewport=whole)['data']
        with open(path, 'wb') as out:
            out.write(base64.b64decode(data))

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
