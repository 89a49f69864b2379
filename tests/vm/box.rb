# frozen_string_literal: true

# The Vagrantfile inside the stand-in box of bin/test-vm: what a box's maker may set. It has no boot loader.

Vagrant.configure("2") do |config|
  config.vm.provider :libvirt do |libvirt|
    libvirt.kernel = File.join(__dir__, "vmlinuz")
    libvirt.initrd = File.join(__dir__, "initrd")
    libvirt.cmd_line = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet mitigations=off"
    libvirt.graphics_type = "none"
    libvirt.video_type = "none"
    libvirt.disk_driver cache: "unsafe"
  end
end
