// The client of the first description of this service, as a page has it: it knows three types of progress, prints each,
// and ignores all other events.
import { io } from 'socket.io-client';

const [url, sshPort, uiHome, ...resources] = process.argv.slice(2);

class ResourceInstaller {
  connect() {
    this.socket = io(`${url}/resources`);
    this.socket.on('resource_install_progress', (data) => this.handleProgress(data));
    this.socket.on('resource_install_complete', (result) => this.handleComplete(result));
    this.socket.on('resource_install_error', (error) => this.handleError(error));
    return new Promise((resolve) => this.socket.on('connect', resolve));
  }

  async startInstallation() {
    const response = await fetch(`${url}/resources/install`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ ssh_host: '127.0.0.1', ssh_port: Number(sshPort), ui_home: uiHome, resources }),
    });
    const result = await response.json();
    if (!result.success) throw new Error(result.message);
    this.socket.emit('subscribe_install', { job_id: result.job_id });
  }

  handleProgress(data) {
    switch (data.type) {
      case 'stage_start':
        console.log(`Downloading: ${data.name}`);
        break;
      case 'progress':
        console.log(`[${'#'.repeat(data.percent / 5)}${'-'.repeat(20 - data.percent / 5)}] ${data.percent}%`);
        break;
      case 'stage_complete':
        console.log(`Completed: ${data.name}`);
        break;
    }
  }

  handleComplete(result) {
    console.log(`Installation complete: ${result.installed}/${result.total} successful`);
    this.socket.close();
  }

  handleError(error) {
    console.error(`Installation failed: ${error.error}`);
    process.exitCode = 1;
    this.socket.close();
  }
}

const installer = new ResourceInstaller();
await installer.connect();
await installer.startInstallation();
